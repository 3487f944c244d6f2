"""The protocol of evaluators shows itself in an example that runs."""

import doctest

from van_dense.evaluation import evaluator


def test_the_example_of_the_protocol_runs():
    assert doctest.testmod(evaluator) == doctest.TestResults(failed=0, attempted=9)
