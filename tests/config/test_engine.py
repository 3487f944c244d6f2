"""Which engine a config gets, with and without Detectron2."""

from __future__ import annotations

import sys

import pytest

from van_dense.config import ConfigError, engine, load_config

PROJECT = "projects/maskrcnn_van_b0.yaml"
KINDS = (PROJECT, "projects/retinanet_van_b0.yaml", "projects/cascade_maskrcnn_van_b2_3x.yaml")


@pytest.mark.parametrize(("installed", "chosen"), [(True, "detectron2"), (False, "torchvision")])
@pytest.mark.parametrize("project", KINDS)
def test_auto_becomes_what_is_installed(monkeypatch, project, installed, chosen):
    monkeypatch.setattr(engine, "has_detectron2", lambda: installed)
    for overrides in ([], ["model.engine=auto"]):
        assert load_config(project, overrides).model.engine == chosen
    assert load_config(project, ["model.engine=torchvision"]).model.engine == "torchvision"


@pytest.mark.parametrize("kind", ["atss", "gfl", "sparsercnn"])
def test_a_detector_that_detectron2_lacks_is_always_built_by_torchvision(monkeypatch, kind):
    monkeypatch.setattr(engine, "has_detectron2", lambda: True)
    project = f"projects/{kind}_van_b2_3x.yaml"
    for overrides in ([], ["model.engine=auto"], ["model.engine=torchvision"]):
        assert load_config(project, overrides).model.engine == "torchvision"
    with pytest.raises(ConfigError, match=rf"model.engine: .*Detectron2 has no {kind}; set model"):
        load_config(project, ["model.engine=detectron2"])


def test_asking_for_a_missing_detectron2_says_where_to_get_it(monkeypatch):
    monkeypatch.setattr(engine, "has_detectron2", lambda: False)
    with pytest.raises(ConfigError, match=r"model.engine: .*tutorials/install") as error:
        load_config(PROJECT, ["model.engine=detectron2"])
    assert "\n" not in str(error.value)


def test_a_source_folder_without_its_compiled_part_is_no_detectron2(monkeypatch, tmp_path):
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "detectron2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert not engine.has_detectron2()
    (package / "_C.cpython-310-x86_64-linux-gnu.so").touch()
    assert engine.has_detectron2()
