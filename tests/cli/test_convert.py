"""The command that renames VAN weights."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import van_dense  # also registers VAN in timm
from van_dense.backbones.layouts import detect_layout
from van_dense.backbones.read import read_state
from van_dense.cli import convert
from van_dense.engine.checkpoint import load_checkpoint, save_checkpoint
from van_dense.runs.convert import export_weights, import_weights
from van_dense.tasks import TASKS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def official(tmp_path: Path) -> Path:
    path = tmp_path / "van.pth.tar"
    torch.save({"state_dict": timm.create_model("van_b0").state_dict()}, path)
    return path


def test_it_writes_the_layout_and_says_what_it_found(official: Path, tmp_path: Path) -> None:
    hub, back = tmp_path / "new" / "hub.safetensors", tmp_path / "back.pth"
    message = export_weights(str(official), hub, "transformers")
    assert "van_b0" in message and "official layout" in message and "fill 100.0 %" in message
    assert "van.encoder.stages.0.embeddings.convolution.weight" in load_file(hub)

    message = export_weights(str(hub), back, "mmpretrain")
    assert "transformers layout" in message
    state = read_state(back)
    assert detect_layout(state) == "mmpretrain"
    torch.testing.assert_close(
        state["head.fc.weight"], read_state(official)["head.weight"], rtol=0, atol=0
    )


PROJECT = str(ROOT / "projects" / "upernet_van_b2.yaml")
TINY = [
    "model.backbone.name=van_b0",
    "model.decoder={name: upernet, channels: 8}",
    "model.auxiliary={channels: 8}",
    "data.label_map=['0 -> ignore', '1..3 -> 0..2']",
    "data.classes=[sky, sea, sand]",
    "data.colors=null",
]


@pytest.fixture
def mmseg(tmp_path: Path) -> Path:
    """A file of mmseg 1.x, written from random weights of the same shapes."""
    from van_dense.integrations.checkpoints.mmseg import to_mmseg

    torch.manual_seed(1)
    model = van_dense.build_model(van_dense.load_config(PROJECT, TINY))
    path = tmp_path / "mmseg.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": to_mmseg(model.state_dict(), "mmseg")}, path)
    return path


def test_a_segmenter_of_mmseg_becomes_a_checkpoint_of_ours_and_back(
    mmseg: Path, tmp_path: Path
) -> None:
    ours, back = tmp_path / "ours.pt", tmp_path / "back.pth"
    message = import_weights(str(mmseg), ours, PROJECT, TINY)
    assert "(mmseg layout) fill 100.0 %" in message
    loaded = van_dense.load(ours)
    assert loaded.info.class_names == ("sky", "sea", "sand") and not loaded.model.training
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert loaded.predict(image)[0].semantic.shape == (40, 60)

    assert "weights of step 0, 3 classes" in export_weights(str(ours), back, "mmseg")
    before, after = read_state(mmseg), read_state(back)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    meta = torch.load(back, weights_only=True)["meta"]
    assert meta["CLASSES"] == ("sky", "sea", "sand") and len(meta["PALETTE"]) == 3


def test_averaged_weights_are_written_where_a_run_has_them(mmseg: Path, tmp_path: Path) -> None:
    ours, back = tmp_path / "ours.pt", tmp_path / "back.safetensors"
    import_weights(str(mmseg), ours, PROJECT, TINY)
    content = load_checkpoint(ours)
    content["ema"] = {key: value + 1 for key, value in content["model"].items()}
    save_checkpoint(ours, content)
    export_weights(str(ours), back, "official")
    key = "decode_head.bottleneck.conv.weight"
    assert torch.equal(load_file(back)[key], read_state(mmseg)[key] + 1)


def test_layouts_without_segmenters_get_the_backbone_alone(mmseg: Path, tmp_path: Path) -> None:
    ours, hub = tmp_path / "ours.pt", tmp_path / "hub.safetensors"
    import_weights(str(mmseg), ours, PROJECT, TINY)
    export_weights(str(ours), hub, "transformers")
    assert all(key.startswith("van.") for key in load_file(hub))


def test_other_classes_than_those_of_the_file_are_a_mistake(mmseg: Path, tmp_path: Path) -> None:
    other = [*TINY, "data.label_map=['0..1 -> 0..1']", "data.classes=[sky, sea]"]
    with pytest.raises(
        ValueError, match=r"another number of classes .*\(file \(3, 8, 1, 1\), model"
    ):
        import_weights(str(mmseg), tmp_path / "ours.pt", PROJECT, other)
    assert not (tmp_path / "ours.pt").exists()


def test_a_detector_goes_to_detectron2_and_back(tmp_path: Path) -> None:
    project = str(ROOT / "projects" / "retinanet_van_b0.yaml")
    small = ["model.fpn.channels=32", "model.engine=torchvision"]
    config = van_dense.load_config(project, small)
    model = van_dense.build_model(config)
    info = {"info": TASKS["detection"].dataset_info(config).to_dict()}
    content = {"step": 3, "model": model.state_dict(), "ema": None, **info}
    save_checkpoint(tmp_path / "a.pt", {**content, "config": config.model_dump(mode="json")})
    theirs, back = tmp_path / "theirs.pth", tmp_path / "back.pt"
    export_weights(str(tmp_path / "a.pt"), theirs, "detectron2")
    keys = torch.load(theirs, weights_only=True)["model"]  # the key DetectionCheckpointer reads
    assert "backbone.fpn_lateral3.weight" in keys and "head.cls_subnet.6.bias" in keys
    import_weights(str(theirs), back, project, small)
    again = van_dense.load(back).model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match="not the network of the project"):
        wrong = [*small, "model.backbone.name=van_b1"]
        import_weights(str(theirs), tmp_path / "wrong.pt", project, wrong)


@pytest.mark.parametrize("target", [["--to", "official"], ["--project", "quickstart"]])
def test_no_file_is_replaced(tmp_path: Path, capsys, target: list[str]) -> None:
    mine = tmp_path / ("mine.pt" if "--project" in target else "mine.pth")
    mine.write_text("mine")
    assert convert.main(["nothing.pth", str(mine), *target]) == 1
    assert "exists, and would be replaced; name another file" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_mistakes_end_with_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert.main(["nothing.pth", str(tmp_path / "o.pth"), "--to", "official"]) == 1
    assert capsys.readouterr().err.startswith("error: nothing.pth: no such file")
    with pytest.raises(SystemExit):
        convert.main(["a.pth", "b.bin", "--to", "mmseg"])
    assert "must end in .safetensors or .pth" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        convert.main(["a.pth", "b.pth", "--project", "p.yaml"])
    assert "must end in .pt," in capsys.readouterr().err
    with pytest.raises(SystemExit):
        convert.main(["a.pth", "b.pth", "--to", "mmseg", "seed=1"])
    assert "only --project reads" in capsys.readouterr().err


MASK2FORMER = [
    "model.backbone={name: van_b0, weights: null}",
    "model={queries: 4, channels: 32, attention_heads: 2}",
    "model.pixel_decoder={layers: 1, feedforward: 16}",
    "model.decoder={layers: 1, feedforward: 16}",
]


def test_a_mask2former_goes_to_transformers_and_back_and_below_another_backbone(
    tmp_path: Path,
) -> None:
    pytest.importorskip("transformers")
    project = str(ROOT / "projects" / "mask2former_van_b2.yaml")
    config = van_dense.load_config(project, MASK2FORMER)
    task = TASKS["panoptic"]
    info = task.dataset_info(config)
    model = task.build_model(config, info)
    content = {"step": 3, "model": model.state_dict(), "ema": None, "info": info.to_dict()}
    ours, theirs = tmp_path / "ours.pt", tmp_path / "model.safetensors"
    save_checkpoint(ours, {**content, "config": config.model_dump(mode="json")})
    export_weights(str(ours), theirs, "transformers")
    names = load_file(theirs)
    assert {"class_predictor.weight", "criterion.empty_weight"} <= names.keys()

    # A folder as their save_pretrained writes it is named as a whole.
    message = import_weights(str(tmp_path), tmp_path / "back.pt", project, MASK2FORMER)
    assert "fills 100.0 %" in message
    back = read_state(tmp_path / "back.pt")
    assert all(torch.equal(back[key], value) for key, value in model.state_dict().items())

    # With another backbone the decoders come from the file, the backbone from the project's own.
    weights = tmp_path / "b1.pth"
    backbone = timm.create_model("van_b1")
    torch.save(backbone.state_dict(), weights)
    other = [*MASK2FORMER, f"model.backbone={{name: van_b1, weights: {weights}}}"]
    message = import_weights(str(theirs), tmp_path / "b1.pt", project, other)
    assert "starts anew" in message and "backbone: " in message
    mixed = read_state(tmp_path / "b1.pt")
    queries = "query_decoder.queries_features.weight"
    assert torch.equal(mixed[queries], model.state_dict()[queries])
    stem = "patch_embed1.proj.weight"
    assert torch.equal(mixed[f"backbone.body.{stem}"], backbone.state_dict()[stem])
