"""A package of an extra that is missing is told with the command that brings it."""

from __future__ import annotations

import sys

import pytest

from van_dense.core.optional import MissingPackage, require


def test_a_package_that_is_there_is_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", sys)
    assert require("av", "a video") is sys


@pytest.mark.parametrize("kind", [ImportError, ValueError])
def test_a_missing_one_names_feature_package_and_extra(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(kind, match=r"^scoring needs .* av.*'van_dense\[video\]'$"):
        require("av", "scoring")


def test_a_broken_one_raises_what_it_raises(tmp_path, monkeypatch):
    (tmp_path / "av.py").write_text("import a_part_of_av_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "av", raising=False)
    with pytest.raises(ModuleNotFoundError, match="a_part_of_av") as caught:
        require("av", "a video")
    assert not isinstance(caught.value, MissingPackage)


def test_a_cam_and_supervision_name_their_extras(monkeypatch):
    from van_dense.explain.cam import _cam_class
    from van_dense.inference.result import Result

    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingPackage, match=r"van_dense\[explain\]"):
        _cam_class("gradcam")
    found = Result.__new__(Result)  # its fields do not matter
    with pytest.raises(MissingPackage, match=r"^to_supervision\(\).*van_dense\[supervision\]"):
        found.to_supervision()


def test_a_run_goes_on_without_tensorboard(tmp_path, monkeypatch, caplog):
    from van_dense.engine.log import RunLog, read_log

    caplog.set_level("INFO")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with RunLog(tmp_path, total_steps=1) as run_log:
        run_log.evaluation(1, {"bbox/AP": 0.5})
    assert [entry["kind"] for entry in read_log(tmp_path / "log.jsonl")] == ["eval"]
    assert not (tmp_path / "tensorboard").exists()
    assert len([m for m in caplog.messages if "van_dense[tensorboard]" in m]) == 1
