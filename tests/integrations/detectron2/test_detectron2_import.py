"""Without Detectron2, its integration says where to get it."""

from __future__ import annotations

import sys

import pytest

MODULE = "van_dense.integrations.detectron2"


def test_the_import_of_a_missing_detectron2_points_to_its_guide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)  # as if it were not there
    for name in [name for name in sys.modules if name.startswith(MODULE)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match=r"not installed; build it as https://\S+install"):
        __import__(MODULE)
