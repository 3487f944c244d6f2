"""A run becomes a file that predicts and evaluates as the run does, or no file at all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import helpers.shallow_van  # noqa: F401  registers van_shallow
import numpy as np
import pytest
from PIL import Image

import van_dense
from van_dense.cli import export as command
from van_dense.config import load_config
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.deploy.runtime import choose_runtime, open_file
from van_dense.inference import export as exporting
from van_dense.inference.gate import Drift
from van_dense.runs.export import export_backbone, export_run
from van_dense.runs.training import train_run

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on label maps."""
    root = tmp_path_factory.mktemp("export")
    data = root / "sample"
    write_sample_data(data, train_images=4, val_images=3, size=64, seed=3, parts=("ade",))
    config = load_config(
        "semfpn_van_b0",
        [
            *(
                f"data.{part}={{images: {data}/ade/images/{name}, "
                f"masks: {data}/ade/annotations/{name}}}"
                for part, name in (("train", "training"), ("val", "validation"))
            ),
            "data.transforms={scale: [112, 64], crop: [64, 64], test_scale: null}",
            "model.decoder={name: semantic_fpn, channels: 16, head_channels: 16}",
            "model.backbone={name: van_shallow, weights: null}",
            "data.workers=0",
            "train.epochs=null",
            "train.steps=2",
            "train.batch_size=2",
            "train.schedule.warmup_steps=0",
            "eval.pictures=1",
        ],
    )
    train_run(config, root / "run")
    return root / "run"


@pytest.fixture(scope="module")
def file(run: Path) -> Path:
    """The run as an ONNX file, by the command."""
    assert command.main([str(run), "--num-images", "2", "--licence", "CC0-1.0"]) == 0
    return run / "exports" / "best.onnx"


def test_the_file_predicts_as_the_run(run, file):
    images = [np.random.default_rng(i).integers(0, 255, (60, 80 + i, 3), np.uint8) for i in (0, 7)]
    loaded = van_dense.load(file)
    expected = van_dense.load(run, device="cpu").predict(images)
    for one, other in zip(expected, loaded.predict(images, batch_size=1), strict=True):
        assert one.semantic.shape == other.semantic.shape
        assert (one.semantic != other.semantic).mean() < 0.001
    assert loaded.info.class_names == van_dense.load(run).info.class_names
    assert loaded.predict(images[0], min_score=None)[0].label_map is not None


def test_the_file_is_evaluated_as_the_run(run, file, tmp_path):
    from van_dense.runs.scoring import evaluate_run

    found, expected = (
        evaluate_run(one, output=tmp_path / str(i)) for i, one in enumerate((file, run))
    )
    assert found == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_the_file_says_what_it_is_and_nothing_of_this_machine(run, file):
    card = open_file(file).card
    assert (card.licence, card.precision, card.step) == ("CC0-1.0", "fp32", 2)
    assert card.version == van_dense.__version__ and len(card.checkpoint_sha256) == 64
    assert [one.name for one in file.parent.iterdir()] == ["best.onnx"]
    assert "max_images: null" in card.config
    content = file.read_bytes()
    for private in (str(Path(exporting.__file__).parent), "site-packages", "stack_trace"):
        assert private.encode() not in content


def test_a_file_that_differs_is_not_left_behind(run, tmp_path, monkeypatch):
    def wrong(network, inputs, path, card):
        network.model.preprocess.mean += 40  # after the run was loaded, before the file is written
        original(network, inputs, path, card)
        network.model.preprocess.mean -= 40

    original = exporting.write_onnx
    monkeypatch.setattr(exporting, "write_onnx", wrong)
    with pytest.raises(Drift, match="stage outputs: output 'logits'"):
        export_run(run, tmp_path / "out" / "a.onnx")
    assert list((tmp_path / "out").iterdir()) == []


SIGNALLED = """
import gc, signal, sys
import van_dense
sys.path.append(sys.argv[2])
import helpers.shallow_van

handled = []
signal.signal(signal.SIGUSR1, lambda *_: handled.append(1))
for _ in range(2):
    models = [van_dense.load(sys.argv[1], runtime="openvino") for _ in range(2)]
    while models:
        del models[0]  # the first of them first
        gc.collect()
signal.raise_signal(signal.SIGUSR1)
print(handled)
"""


def test_signals_are_handled_after_files_were_opened_and_closed(file):
    pytest.importorskip("openvino")
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", SIGNALLED, str(file), str(tests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[1]\n"


def test_given_images_take_the_place_of_the_validation_part(run, tmp_path):
    Image.fromarray(np.full((50, 90, 3), 90, np.uint8)).save(tmp_path / "a.png")
    done = export_run(run, tmp_path / "a.onnx", images=[tmp_path / "a.png"])
    assert done.compared is not None and done.path == tmp_path / "a.onnx"
    assert (done.compared.images, done.compared.metrics) == (1, {})
    assert done.compared.differences["output logits"] < 1e-3


@pytest.mark.slow
def test_openvino_files_are_two_and_give_the_same(run, file, tmp_path):
    pytest.importorskip("openvino")
    assert (
        command.main([str(run), "--format", "openvino", "--output", str(tmp_path / "m.xml")]) == 0
    )
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    results = [
        van_dense.load(one, runtime=runtime).predict(image)[0].semantic
        for one, runtime in ((file, "onnxruntime"), (file, "openvino"), (tmp_path / "m.xml", None))
    ]
    assert all((one != results[0]).mean() < 0.001 for one in results)


@pytest.mark.slow  # tests/contracts/test_exports.py has int8 of every model
def test_int8_is_measured_beside_the_others(run, tmp_path, capsys):
    output = tmp_path / "a.onnx"
    options = ["--precision=int8", "--num-images=2", "--num-calibration=3"]
    assert command.main([str(run), *options, "--output", str(output)]) == 0
    card = open_file(output).card
    assert card.precision == "int8"
    rows = {(row["runtime"], row["precision"]): row for row in card.measured["measured"]}
    assert {("torch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")} <= rows.keys()
    exact, integers = (rows["onnxruntime", one]["metric"] for one in ("fp32", "int8"))
    assert rows["torch", "fp32"]["metric"] == pytest.approx(exact, abs=1e-4)
    assert integers == pytest.approx(exact, abs=0.02)
    printed = capsys.readouterr().out
    assert re.search(r"onnxruntime int8 +\d+\.\d +\d+\.\d\dx  0\.\d{4}\n", printed)
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    one, other = (van_dense.load(p).predict(image)[0].semantic for p in (run, output))
    assert (one != other).mean() < 0.4 and _integer_layers(output) > 30


def _integer_layers(path: Path) -> int:
    import onnx

    graph = onnx.load(path).graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    layers = [n for n in graph.node if n.op_type in ("Conv", "MatMul", "Gemm")]
    return sum(dequantised.issuperset(n.input[:2]) for n in layers)


@pytest.mark.slow
def test_openvino_computes_a_file_of_bf16_in_bf16(run, tmp_path):
    pytest.importorskip("openvino")
    output = tmp_path / "a.xml"
    options = ["--format=openvino", "--precision=bf16", "--num-images=2"]
    assert command.main([str(run), *options, "--output", str(output)]) == 0
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    loaded = van_dense.load(output)
    exact, coarse = (loaded.predict(image, precision=p)[0].semantic for p in ("fp32", "bf16"))
    assert (exact == coarse).all()


def test_a_program_of_torch_is_written_without_a_gate(run, tmp_path, capsys):
    assert command.main([str(run), "--format", "torch", "--output", str(tmp_path / "m.pt2")]) == 0
    assert (tmp_path / "m.pt2").is_file() and "not compared" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--output", "a.xml"], "a file of format onnx must end in .onnx"),
        (["--checkpoint", "none.pt"], "none.pt"),
        (["--images", "nothing.jpg"], "nothing.jpg"),
    ],
)
def test_mistakes_are_one_line(run, arguments, problem, capsys):
    assert command.main([str(run), *arguments]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and problem in printed


def test_files_of_others_are_refused(file, tmp_path):
    broken = tmp_path / "a.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.onnx: ONNX Runtime cannot open it"):
        van_dense.load(broken)
    with pytest.raises(ValueError, match=r"b\.onnx: no such file"):
        van_dense.load(tmp_path / "b.onnx")
    with pytest.raises(ValueError, match="it has no card of van_dense"):
        import onnx

        model = onnx.load(file)
        del model.metadata_props[:]
        onnx.save(model, broken)
        van_dense.load(broken)


def test_whole_images_without_padding_pass_the_gate(run, tmp_path):
    image, output = tmp_path / "odd.png", tmp_path / "odd.onnx"
    pixels = np.random.default_rng(0).integers(0, 255, (75, 101, 3), np.uint8)
    Image.fromarray(pixels).save(image)
    change = ["eval.inference.multiple=1", "data.transforms.test_multiple=1"]
    arguments = [str(run), *change, "--images", str(image), "--output", str(output)]
    assert command.main(arguments) == 0
    assert open_file(output).card.multiple == 1
    found, expected = van_dense.load(output), van_dense.load(run, overrides=change)
    assert (found.predict(image)[0].semantic == expected.predict(image)[0].semantic).all()


def test_runtimes_are_chosen_by_name(file, run):
    assert choose_runtime(Path("a.xml"), None) == "openvino"
    with pytest.raises(ValueError, match="runtime 'tensorrt' does not read"):
        van_dense.load(file, runtime="tensorrt")


def test_bfloat16_is_openvinos(file):
    pytest.importorskip("openvino")
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    loaded = van_dense.load(file, runtime="openvino")
    exact, coarse = (loaded.predict(image, precision=p)[0].semantic for p in ("fp32", "bf16"))
    assert (exact != coarse).mean() < 0.2
    with pytest.raises(ValueError, match="OpenVINO computes in fp32 or bf16 on a CPU, not in fp16"):
        loaded.predict(image, precision="fp16")
    with pytest.raises(ValueError, match="ONNX Runtime computes a file as it is; OpenVINO does bf"):
        van_dense.load(file, runtime="onnxruntime").predict(image, precision="bf16")


def test_a_run_is_exported_once_for_a_runtime(run, file, caplog):
    before = file.stat().st_mtime_ns
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    caplog.set_level("INFO")
    by_name = van_dense.load(run, runtime="onnxruntime")
    assert file.stat().st_mtime_ns == before and "writing" not in caplog.text
    assert (
        by_name.predict(image)[0].semantic == van_dense.load(file).predict(image)[0].semantic
    ).all()
    file.write_bytes(b"broken")
    van_dense.load(run, runtime="onnxruntime")
    assert file.stat().st_size > 100_000 and "it is written again" in caplog.text


def test_the_card_is_json_in_the_metadata(file):
    import onnx

    (entry,) = onnx.load(file).metadata_props
    assert entry.key == "van_dense" and json.loads(entry.value)["outputs"] == ["labels", "logits"]


# ------------------------------------------------------------------------------ the backbone alone


def test_the_backbone_alone_gives_four_maps_of_any_size(run, capsys):
    import onnxruntime

    assert command.main([str(run), "--backbone"]) == 0
    file = run / "exports" / "best_backbone.onnx"
    assert "map c5: largest difference" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(file))
    maps = session.run(None, {"images": np.zeros((2, 3, 96, 160), dtype=np.uint8)})
    assert [one.shape[2:] for one in maps] == [(24, 40), (12, 20), (6, 10), (3, 5)]
    assert b"site-packages" not in file.read_bytes()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--size", "64", "64"], "--size belongs to --backbone"),
        (["--backbone", "--format=openvino"], "--backbone is written as onnx"),
        (["--backbone", "--precision=int8"], "--backbone is written in fp32"),
        (["--backbone", "--images", "a.png"], "--backbone takes no --images:"),
        (["--backbone", "--num-images", "2", "--data", "a.yaml"], "no --num-images and --data:"),
        (["--backbone", "--num-images", "8"], "--backbone takes no --num-images:"),
        (["--backbone", "--num-calibration", "2"], "--backbone takes no --num-calibration:"),
        (["--backbone", "--licence", "CC0-1.0"], "--backbone takes no --licence:"),
    ],
)
def test_options_of_the_backbone_belong_together(options, problem, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["run", *options])
    assert problem in capsys.readouterr().err


def test_overrides_reach_the_backbone(run, tmp_path, capsys):
    output = tmp_path / "a.onnx"
    wrong = "model.backbone.colour=red"
    assert command.main([str(run), wrong, "--backbone", "--output", str(output)]) == 1
    assert "model.backbone.colour" in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize(
    ("name", "format", "problem"),
    [("a.xml", "openvino", "onnx, which OpenVINO reads, or torch"), ("a.pt2", "onnx", "in .onnx")],
)
def test_a_backbone_has_the_formats_of_its_suffixes(run, tmp_path, name, format, problem):
    with pytest.raises(ValueError, match=problem):
        export_backbone(run, tmp_path / name, format=format)


def test_a_backbone_as_a_program_is_written_without_a_warning(run, tmp_path, caplog):
    assert export_backbone(run, tmp_path / "a.pt2", format="torch", size=(64, 64)) == {}
    assert [one.name for one in tmp_path.iterdir()] == ["a.pt2"]
    assert "ending in .pt2" not in caplog.text
