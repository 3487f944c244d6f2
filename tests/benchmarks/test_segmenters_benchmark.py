"""The section "segmenters" compares label maps of whole networks; no test looks at a time."""

import json

import pytest

from benchmarks.harness import deploy, segmenters
from benchmarks.harness import measure as benchmark


@pytest.mark.slow
def test_every_way_labels_pixels_as_the_eager_network(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    small = {"SegNeXt-T": ("segnext_t",), segmenters.REFERENCE: ("van_b0_ham",)}
    monkeypatch.setattr(segmenters, "SEGMENTERS", small)
    monkeypatch.setattr(deploy, "SIZE", (64, 96))
    output = tmp_path / "x.json"
    assert benchmark.main(["segmenters", "--repeats", "1", "--output", str(output)]) == 0
    found = json.loads(output.read_text())["segmenters"]["segmenters"]
    segnext, reference = found["SegNeXt-T"], found[segmenters.REFERENCE]
    assert segnext["parameters"] == 4_263_414
    assert 0 < segnext["parameters_beside_reference"] < 1
    assert reference["parameters_beside_reference"] == 1
    assert {"eager", "load", segmenters.LABEL_MAP} <= set(segnext["ways"])
    assert min(segnext["same_labels"].values()) > 0.999


def test_a_network_that_takes_a_third_of_the_time_is_three_times_as_fast():
    wall = {"small": {"load": [1.0, 2.0]}, segmenters.REFERENCE: {"load": [3.0, 6.0]}}
    found = segmenters.beside_reference(wall, wall)
    assert found["small"]["load"]["times_as_fast"]["median"] == 3.0
    assert found["small"]["load"]["ms"] == 1500.0
    assert found[segmenters.REFERENCE]["load"]["times_as_fast_of_cpu_time"]["median"] == 1.0


def test_all_networks_have_the_classes_of_ade20k():
    for project, *overrides in segmenters.SEGMENTERS.values():
        assert len(segmenters.config_of(project, *overrides).data.classes) == 150
