"""The interface of all models, as its docstring shows it."""

from __future__ import annotations

import doctest

from van_dense.models import dense_model


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(dense_model) == (0, 9)
