"""benchmarks/gpu.py stays ready for a GPU: its parts here, all of it on the CPU when slow."""

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import gpu
from benchmarks.harness import gpu_checks
from benchmarks.harness.gpu_profile import STEPS, by_kind, kind_of
from benchmarks.harness.gpu_speed import Setting, backbones, classifiers, speed
from benchmarks.harness.gpu_whole import WHOLE, generated_batch

torch.set_num_threads(1)
TINY = Setting(torch.device("cpu"), tiny=True, deadline=time.monotonic() + 600)


def test_the_batch_is_halved_until_it_fits() -> None:
    tried = []

    def make_step(batch: int):
        def step() -> None:
            tried.append(batch)
            if batch > 4:
                raise torch.OutOfMemoryError

        return step

    found = speed(make_step, 16, TINY)
    assert found["batch_size"] == 4 and tried[:3] == [16, 8, 4]
    assert found["samples_per_sec"] > 0 and "peak_memory_mb" not in found


def test_one_image_that_does_not_fit_is_an_error() -> None:
    def make_step(batch: int):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        speed(make_step, 2, TINY)


@pytest.mark.parametrize(
    ("operator", "shapes", "kind"),
    [
        ("aten::cudnn_convolution", [[2, 64, 9, 9], [64, 1, 5, 5]], "depthwise convolution"),
        ("aten::cudnn_convolution", [[2, 64, 9, 9], [32, 64, 1, 1]], "1x1 convolution"),
        ("aten::convolution_backward", [[], [], [64, 1, 7, 7]], "depthwise convolution"),
        ("aten::convolution_backward", [[], [], [8, 4, 3, 3]], "other convolution"),
        ("aten::addmm", [[1], [2, 3], [3, 4]], "matrix product"),
        ("aten::_flash_attention_forward", [[1]], "attention"),
        ("aten::cudnn_batch_norm_backward", [[1]], "norm"),
        ("aten::gelu_backward", [[1]], "activation"),
        ("aten::mul", [[1], [1]], "elementwise"),
        ("aten::_foreach_add_", [[]], "optimizer"),
        ("aten::nonzero_static", [[]], "elementwise"),
        ("aten::unfold", [[]], "other"),
    ],
)
def test_operators_have_kinds(operator: str, shapes: list[list[int]], kind: str) -> None:
    assert kind_of(operator, shapes) == kind


def test_kernels_are_not_counted_beside_the_operators_that_launched_them() -> None:
    def event(key: str, device: DeviceType, microseconds: float) -> SimpleNamespace:
        times = {"self_device_time_total": microseconds, "self_cpu_time_total": 1e9}
        return SimpleNamespace(key=key, device_type=device, input_shapes=[], **times)

    events = [
        event("aten::mm", DeviceType.CPU, 3e3 * STEPS),
        event("aten::gelu", DeviceType.CPU, 1e3 * STEPS),
        event("ampere_gemm_128x64", DeviceType.CUDA, 3e3 * STEPS),
        event("ProfilerStep", DeviceType.CPU, 9e3),
    ]
    found = by_kind(events, on_gpu=True)
    assert found["device_ms_per_step"] == 4
    assert found["share"] == {"matrix product": 0.75, "activation": 0.25}


def test_what_matters_most_comes_first_and_no_case_twice() -> None:
    on_gpu = Setting(torch.device("cuda"), tiny=False, deadline=0.0)
    for section in (classifiers, backbones):
        cases = [tuple(about.values()) for about, _ in section(on_gpu)]
        assert len(cases) == len(set(cases)) == 4 * 13
        assert cases[0][0] == "van_b2"


@pytest.mark.parametrize("name", WHOLE)
def test_generated_batches_have_the_ground_truth_of_their_task(name: str) -> None:
    batch = generated_batch(name, (64, 96), 2)
    assert len(batch) == 2
    if batch.targets is None:
        assert batch.semantic is not None and batch.semantic.shape == (2, 64, 96)
        return
    for target in batch.targets:
        assert (target.boxes >= 0).all() and (target.boxes[:, 2:].max(dim=0)[0] <= 96).all()
        assert all(mask.any() for mask in target.masks)


def options(path: Path, minutes: float) -> argparse.Namespace:
    return argparse.Namespace(device="cpu", tiny=True, minutes=minutes, lines=path)


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_case_that_fails_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [({"check": "a"}, lambda: 1 / 0), ({"check": "b"}, lambda: {"ok": True})]
    monkeypatch.setattr(gpu_checks, "checks", lambda _: iter(cases))
    gpu.measure("checks", options(tmp_path / "lines", minutes=1))
    planned, first, second = read(tmp_path / "lines")
    assert planned == {"planned": [{"check": "a"}, {"check": "b"}]}
    assert first["error"] == "ZeroDivisionError: division by zero"
    assert second["section"] == "checks" and second["ok"] is True


def test_what_does_not_fit_is_left_out_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "checks", lambda _: iter([({"check": "a"}, dict)]))
    gpu.measure("checks", options(tmp_path / "lines", minutes=0))
    assert read(tmp_path / "lines")[1]["left_out"] == "no time was left"


def test_a_section_that_hangs_is_ended_and_what_it_measured_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "hangs.py"
    planned = json.dumps({"planned": [{"check": "a"}, {"check": "b"}]})
    script.write_text(
        "import sys, time\n"
        "path = sys.argv[sys.argv.index('--lines') + 1]\n"
        f"open(path, 'w').write({planned!r} + '\\n' + '{{\"check\": \"a\"}}' + '\\n' + '{{\"to')\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(script))
    records, ended = gpu.run_section("checks", options(tmp_path, minutes=1), seconds=2.0)
    assert ended == "killed at the end of its time"
    assert records[0] == {"check": "a"}
    assert records[1]["check"] == "b" and "killed" in records[1]["left_out"]


@pytest.mark.parametrize(
    ("end", "records", "code"),
    [
        ("complete", [{"section": "checks", "ok": True}], 0),
        ("killed at the end of its time", [{"section": "checks", "left_out": "no time"}], 0),
        ("complete", [{"section": "checks", "ok": False}], 1),
        ("complete", [{"section": "checks", "error": "RuntimeError"}], 1),
        ("stopped by exit code 1", [{"section": "checks", "ok": True}], 1),
        ("killed at the end of its time", [], 1),
    ],
)
def test_the_exit_code_says_whether_anything_failed(
    end: str, records: list[object], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "run_section", lambda *_: (records, end))
    output = ["--output", str(tmp_path / "x.json"), "--sections", "checks"]
    assert gpu.main(["--device", "cpu", "--tiny", *output]) == code


@pytest.mark.skipif(torch.cuda.is_available(), reason="without a GPU")
def test_without_a_gpu_it_says_how_to_try_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "--device cpu --tiny" in capsys.readouterr().err


@pytest.mark.slow
def test_everything_runs_on_a_cpu_at_tiny_size(tmp_path: Path) -> None:
    output = tmp_path / "tiny.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--minutes", "30", "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert {one["end"] for one in result["sections"].values()} == {"complete"}
    assert set(result["sections"]) == set(gpu.SHARES)
    columns = ("samples_per_sec", "step_time", "batch_size", "img_size")
    for one in result["records"]:
        assert "left_out" not in one
        if one["section"] in ("classifiers", "backbones", "whole"):
            assert {f"{part}_{name}" for part in ("infer", "train") for name in columns} <= set(one)
            assert one["param_count"] > 1
