"""The file of a run for a runtime: found again, written anew, and never lost to a failure."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_models import tiny_model
from PIL import Image

import van_dense
from van_dense.cli import export as command
from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.optional import MissingPackage
from van_dense.deploy.networks import network_of
from van_dense.deploy.runtime import open_file
from van_dense.deploy.write import stamp
from van_dense.inference import export as exporting
from van_dense.inference.export import Exported, export_path, exported_file, write_file
from van_dense.inference.file_config import baked_in
from van_dense.inference.loaded import Loaded
from van_dense.runs.export import export_backbone

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

VIT = (
    "model.backbone.name=vit_tiny_patch16_224",
    "model.backbone.options={img_size: 64, depth: 1}",
    "model.backbone.weights=null",
    "data.transforms={size: 64, resize: 72}",
)


def classifier(*overrides: str) -> Loaded:
    """A ViT of one block and one size."""
    torch.manual_seed(0)
    config, info = (
        load_config("classify_van_b0_in1k", [*VIT, *overrides]),
        DatasetInfo("pets", ("a", "b"), (0, 1)),
    )
    model = van_dense.build_model(config, info).eval()
    return Loaded(model, config, info, step=0, device=torch.device("cpu"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for the checkpoint of a run, whose file is there."""
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "best.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    Image.new("RGB", (80, 80)).save(path.with_suffix(".png"))
    images = [path.with_suffix(".png")]
    write_file(classifier(), export_path(path), checkpoint=path, images=images)
    return path


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that would have been written."""
    paths: list[Path] = []

    def record(loaded: Loaded, path: Path, **_: object) -> Exported:
        paths.append(path)
        return Exported(path, None)

    monkeypatch.setattr(exporting, "write_file", record)
    return paths


def test_a_file_of_the_same_config_is_taken(checkpoint, written):
    assert exported_file(classifier(), checkpoint, "onnxruntime") == export_path(checkpoint)
    assert written == []


@pytest.mark.parametrize(
    "override", ["data.workers=0", "eval.batch_size=3", "data.transforms.interpolation=bilinear"]
)
def test_what_is_not_inside_a_file_leaves_it_as_it_is(checkpoint, written, override):
    assert exported_file(classifier(override), checkpoint, "onnxruntime") == export_path(checkpoint)
    assert written == []


@pytest.mark.parametrize(
    "override",
    [
        "model.backbone.drop_path=0.3",
        "data.size_divisor=2",
        "data.transforms={size: 32, resize: 72}",
    ],
)
def test_what_is_inside_a_file_is_written_anew(checkpoint, written, override):
    assert exported_file(classifier(override), checkpoint, "onnxruntime") == export_path(checkpoint)
    assert written == [export_path(checkpoint)]


def test_crops_of_poses_are_inside_a_file():
    kept = "model.backbone.weights=null"
    network = network_of(tiny_model("pose-simple_baseline"))
    config, workers, crop = (
        baked_in(load_config("pose_van_b0_256x192", [kept, *more]), network)
        for more in ([], ["data.workers=0"], ["data.transforms.padding=1.5"])
    )
    assert config == workers != crop


def test_the_licence_of_an_earlier_file_stays(checkpoint, monkeypatch):
    path, given = export_path(checkpoint), []
    before, card = path.read_bytes(), open_file(path).card
    stamp(path, replace(card, licence="CC0-1.0", version="0.0.1"))

    def write(loaded: Loaded, path: Path, *, licence: str, **_: object) -> Exported:
        given.append(licence)
        return Exported(path, None)

    monkeypatch.setattr(exporting, "write_file", write)
    exported_file(classifier(), checkpoint, "onnxruntime")
    path.write_bytes(b"broken")
    exported_file(classifier(), checkpoint, "onnxruntime")
    path.write_bytes(before)
    assert given == ["CC0-1.0", "not stated"]


def test_another_precision_is_written_anew(checkpoint, written):
    path = export_path(checkpoint)
    before, card = path.read_bytes(), open_file(path).card
    stamp(path, replace(card, precision="int8"))
    exported_file(classifier(), checkpoint, "onnxruntime")
    path.write_bytes(before)
    assert written == [path]


def test_a_runtime_that_is_not_there_costs_no_file(checkpoint, written, monkeypatch):
    with pytest.raises(ValueError, match="runtime 'tensorrt' does not read"):
        exported_file(classifier(), checkpoint, "tensorrt")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackage, match="running a file in openvino needs the package"):
        exported_file(classifier(), checkpoint, "openvino")
    assert written == []


def test_a_folder_that_cannot_be_written_is_told_with_a_way_out(tmp_path, written):
    path = tmp_path / "best.pt"
    path.write_bytes(b"weights")
    (tmp_path / "exports").touch()
    fix = (
        r"exports cannot be written \(.*\), where a run .*export RUN --output FILE\.onnx, and load"
    )
    with pytest.raises(OSError, match=fix):
        exported_file(classifier(), path, "onnxruntime")
    assert written == []


@pytest.mark.parametrize("name", ["a.onnx", pytest.param("a.xml", marks=pytest.mark.slow)])
def test_weights_in_a_second_file_go_with_it(checkpoint, photo, tmp_path, monkeypatch, name):
    from torch.onnx._internal.exporter import _onnx_program

    format = "onnx"
    if name == "a.xml":
        pytest.importorskip("openvino")
        format = "openvino"
    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    loaded, folder = classifier(), tmp_path / "made"
    output = folder / name
    done = write_file(loaded, output, checkpoint=checkpoint, format=format, images=[photo])
    second = "a.onnx.data" if format == "onnx" else "a.bin"
    assert [one.name for one in done.files] == [second, name]
    assert sorted(one.name for one in folder.iterdir()) == sorted([second, name])
    assert (folder / second).stat().st_size > 4e5 > output.stat().st_size
    found, expected = (
        one.predict(photo)[0].class_scores for one in (van_dense.load(output), loaded)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_int8_takes_no_weights_in_a_second_file(checkpoint, photo, tmp_path, monkeypatch):
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    monkeypatch.setattr(exporting, "calibration_inputs", lambda *_: [])
    output = tmp_path / "made" / "a.onnx"
    with pytest.raises(ValueError, match=r"int8 takes weights up to 1\.5 GiB; .* fp32"):
        write_file(classifier(), output, checkpoint=checkpoint, precision="int8", images=[photo])
    assert list(output.parent.iterdir()) == []


def test_a_model_of_one_size_passes_the_gate(checkpoint, photo, tmp_path):
    loaded, path = classifier(), tmp_path / "a.onnx"
    done = write_file(loaded, path, checkpoint=checkpoint, images=[photo])
    assert done.compared is not None and done.files == [path]
    other = van_dense.load(path, overrides=["data.transforms={size: 32, resize: 32}"])
    with pytest.raises(ValueError, match="images of 64x64 alone, not 32x32; bring all images to"):
        other.predict(photo)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder.onnx", r"folder\.onnx is no regular file, and is not replaced"),
        ("a.xml", r"a\.bin is no regular file, and is not replaced"),
        ("file/b/a.onnx", r"file is no folder, so .*a\.onnx cannot be written; name another"),
    ],
)
def test_a_place_for_no_file_costs_no_export(checkpoint, tmp_path, monkeypatch, name, words):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "a.bin").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr("van_dense.runs.export.load", lambda *_, **__: pytest.fail("it began"))
    monkeypatch.setattr(exporting, "network_of", lambda _: pytest.fail("it began"))
    output = tmp_path / name
    format = "openvino" if output.suffix == ".xml" else "onnx"
    with pytest.raises(OSError, match=words):
        write_file(classifier(), output, checkpoint=checkpoint, format=format)
    if format == "onnx":
        with pytest.raises(OSError, match=words):
            export_backbone(checkpoint, output)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what is taken for a checkpoint."""
    checkpoint = tmp_path / "run" / "checkpoints" / "best.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    monkeypatch.setattr("van_dense.runs.export.load", lambda *_, **__: classifier())
    return tmp_path / "run"


def test_a_full_disk_leaves_the_earlier_file(photo, tmp_path, monkeypatch, capsys):
    run, output = run_folder(tmp_path, monkeypatch), tmp_path / "a.onnx"
    output.write_bytes(b"good")
    monkeypatch.setattr(exporting, "write_onnx", full)
    assert command.main([str(run), "--images", str(photo), "--output", str(output)]) == 1
    printed = capsys.readouterr().err
    assert printed == f"error: {output} cannot be written: No space left on device\n"
    assert output.read_bytes() == b"good"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["{run}"], "best.onnx"),
        (["{run}/checkpoints/best.pt"], "best.onnx"),
        (["{run}", "--checkpoint", "{run}/checkpoints/best.pt"], "best.onnx"),
        (["{run}", "--format=openvino", "--precision=int8"], "best_int8.xml"),
        (["{run}", "--checkpoint=last"], "step_00000002.onnx"),
    ],
)
def test_files_are_named_after_their_checkpoints(words, name, tmp_path, monkeypatch, capsys):
    run = run_folder(tmp_path, monkeypatch)
    folder = run / "checkpoints"
    (folder / "best.pt").rename(folder / "step_00000002.pt")
    (folder / "best.pt").symlink_to("step_00000002.pt")

    def export(_: object, output: Path, **__: object) -> Exported:
        for suffix, size in ((output.suffix, 2_000_000), (".other", 3_000_000)):
            output.parent.mkdir(exist_ok=True)
            output.with_suffix(suffix).write_bytes(bytes(size))
        return Exported(output, None, files=[output])

    monkeypatch.setattr("van_dense.runs.export.export_run", export)
    newest = folder / "step_00000002.pt"
    monkeypatch.setattr("van_dense.engine.checkpoint.latest_intact", lambda _: newest)
    assert command.main([word.format(run=run) for word in words]) == 0
    assert f"\n{run / 'exports' / name}: 2.0 MB\n" in capsys.readouterr().out
