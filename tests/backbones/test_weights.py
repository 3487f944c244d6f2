"""Weights: files that are read or refused, and the load report."""

import argparse
import logging
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from helpers.defaults import build_backbone, build_classifier
from safetensors.torch import save_file
from torch import Tensor, nn

import van_dense  # noqa: F401  (registers VAN)
from van_dense.backbones.download import PUBLISHED
from van_dense.backbones.layouts import LAYOUTS, from_official
from van_dense.backbones.read import read_state, unwrap
from van_dense.backbones.weights import LoadReport, load_backbone, load_pretrained
from van_dense.engine.checkpoint import best_path, save_checkpoint


def randomized(model: nn.Module) -> nn.Module:
    """Move scales, biases and running statistics away from their start values."""
    torch.manual_seed(7)
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            value.copy_(0.5 + 0.5 * torch.rand_like(value))
        elif name.endswith("num_batches_tracked"):
            value.fill_(5)
    return model.eval()


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    return dict(randomized(timm.create_model("van_b0")).state_dict())


# --------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("container", ["state_dict", "model", None])
def test_checkpoints_are_read_out_of_their_containers(
    container: str | None, tmp_path: Path, official: dict[str, Tensor]
) -> None:
    extra = {"epoch": 300, "args": argparse.Namespace(lr=1e-3)}
    torch.save({container: official, **extra} if container else official, tmp_path / "van.pth.tar")
    state = read_state(tmp_path / "van.pth.tar")
    torch.testing.assert_close(state, official)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "van.safetensors")
    torch.testing.assert_close(read_state(tmp_path / "van.safetensors"), {"a": torch.arange(3.0)})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_torn_file_is_recognised(suffix: str, share: float, tmp_path: Path) -> None:
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    state = {"a": torch.randn(1000)}
    torch.save(state, whole) if suffix == ".pth" else save_file(state, whole)
    torn.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(ValueError, match=r"torn.*cut short or is no checkpoint; fetch it again"):
        read_state(torn)


def test_a_torn_checkpoint_of_the_old_format_is_recognised(tmp_path: Path) -> None:
    torch.save({"a": torch.randn(1000)}, tmp_path / "w", _use_new_zipfile_serialization=False)
    (tmp_path / "torn.pth").write_bytes((tmp_path / "w").read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut short or is no checkpoint"):
        read_state(tmp_path / "torn.pth")


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("\n<!DOCTYPE html><html>sign in</html>")
    with pytest.raises(ValueError, match=r"page\.pth is a web page"):
        read_state(tmp_path / "page.pth")
    (tmp_path / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    with pytest.raises(ValueError, match="Git LFS pointer"):
        read_state(tmp_path / "lfs.pth")
    (tmp_path / "picture.pth").write_bytes(b"\x89PNG\r\n" + bytes(100))
    with pytest.raises(ValueError, match=r"picture\.pth \(106 bytes\) .* is no checkpoint"):
        read_state(tmp_path / "picture.pth")
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("readme.txt", "no tensors")
    with pytest.raises(ValueError, match="is no checkpoint"):
        read_state(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not exist"):
        read_state(tmp_path / "none.pth")


def test_a_checkpoint_without_tensors_lists_what_it_holds() -> None:
    with pytest.raises(ValueError, match=r"no state dict.*found \['epoch', 'loss'\]"):
        unwrap({"epoch": 3, "loss": 0.5})
    with pytest.raises(ValueError, match="found list"):
        unwrap([1, 2])


# -------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_backbone_takes_every_layout(layout: str, official: dict[str, Tensor]) -> None:
    backbone = build_backbone("van_b0")
    report = load_backbone(backbone, from_official(official, layout))
    assert (report.layout, report.coverage, report.elements) == (layout, 100.0, 3_848_800)
    assert report.missing == report.unexpected == report.reshaped == []
    assert report.head == ["head.weight unexpected", "head.bias unexpected"]
    own = backbone.body.state_dict()
    torch.testing.assert_close(own, {key: official[key] for key in own})


def test_a_classifier_is_loaded_where_it_fits_and_listed_where_not(
    official: dict[str, Tensor],
) -> None:
    whole = timm.create_model("van_b0")
    assert load_backbone(whole, official).head == ["head.weight matched", "head.bias matched"]
    torch.testing.assert_close(whole.head.bias, official["head.bias"])
    other = load_backbone(timm.create_model("van_b0", num_classes=2), official)
    assert other.head[0] == "head.weight reshaped (file (1000, 256), model (2, 256))"
    assert other.coverage == 100


def test_decode_heads_of_segmentation_checkpoints_are_ignored_and_listed(
    official: dict[str, Tensor],
) -> None:
    state = {f"backbone.{key}": value for key, value in official.items()}
    state["decode_head.conv_seg.weight"] = torch.zeros(150, 512, 1, 1)
    report = load_backbone(build_backbone("van_b0"), state)
    assert report.coverage == 100 and report.ignored == ["decode_head.conv_seg.weight"]


def test_a_detector_of_this_package_gives_its_backbone(official: dict[str, Tensor]) -> None:
    source, target = build_backbone("van_b0"), build_backbone("van_b0")
    load_backbone(source, official)
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    load_backbone(target, {**state, "rpn_head.weight": torch.zeros(1)})
    torch.testing.assert_close(target.state_dict(), source.state_dict())


def test_weights_of_another_size_are_refused_and_leave_the_model_alone(
    official: dict[str, Tensor],
) -> None:
    backbone = build_backbone("van_b1")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=r"(?s)at least 95 %.*fill 0\.\d % of 13\.35 M.*reshaped"):
        load_backbone(backbone, official)
    torch.testing.assert_close(backbone.state_dict(), before)


def test_weights_that_match_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no VAN weights"):
        load_backbone(build_backbone("van_b0"), {"conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"fill 0\.0 % of"):
        load_backbone(build_backbone("resnet18"), {"layer9.weight": torch.zeros(1)})


def test_a_small_gap_is_loaded_and_reported(official: dict[str, Tensor]) -> None:
    state = {k: v for k, v in official.items() if k != "block1.0.layer_scale_1"}
    report = load_backbone(build_backbone("van_b0"), {**state, "block1.0.extra": torch.zeros(2)})
    assert report.missing == ["block1.0.layer_scale_1"]
    assert report.unexpected == ["block1.0.extra"]
    assert report.coverage == pytest.approx(100 * (1 - 32 / 3_848_800))
    assert str(report).splitlines() == [
        "weights (official layout) fill 100.0 % of 3.85 M backbone parameters",
        f"  matched      {len(report.matched)}",
        "  reshaped       0",
        "  missing        1  block1.0.layer_scale_1",
        "  unexpected     1  block1.0.extra",
        "  head           2  head.weight unexpected, head.bias unexpected",
        "  ignored        0",
    ]


# The last two have a patch_embed1, as VAN.
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "visformer_tiny", "coat_tiny"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.body."])
def test_other_models_take_the_names_of_timm(name: str, prefix: str) -> None:
    source = randomized(timm.create_model(name))
    backbone = build_backbone(name)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    report = load_backbone(backbone, state)
    assert (report.layout, report.coverage, report.missing) == ("plain", 100.0, [])
    assert any("unexpected" in line for line in report.head)
    own = backbone.body.state_dict()
    torch.testing.assert_close(own, {key: source.state_dict()[key] for key in own})


def of_authors(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Entries of timm's model under the names of its authors' code."""
    pairs = {
        "samvit_base_patch16": [("mlp.fc1", "mlp.lin1"), ("mlp.fc2", "mlp.lin2")],
        "vit_tiny_patch16_dinov3_qkvb": [
            ("reg_token", "storage_tokens"),
            ("gamma_1", "ls1.gamma"),
            ("gamma_2", "ls2.gamma"),
        ],
    }[name]
    renamed = {}
    for key, value in state.items():
        for ours, theirs in pairs:
            key = key.replace(ours, theirs)
        renamed[("image_encoder." if name.startswith("sam") else "") + key] = value
    return renamed


@pytest.mark.parametrize("name", ["samvit_base_patch16", "vit_tiny_patch16_dinov3_qkvb"])
def test_files_of_authors_are_renamed_by_timms_own_rules(name: str) -> None:
    source = timm.create_model(name, depth=3)
    backbone = build_backbone(name, options={"depth": 3})
    report = load_backbone(backbone, of_authors(name, dict(source.state_dict())))
    assert report.coverage == 100 and not report.missing
    own = {k: v for k, v in backbone.body.state_dict().items() if "attn.k_bias" not in k}
    torch.testing.assert_close(own, {key: source.state_dict()[key] for key in own})


@pytest.mark.parametrize(
    ("name", "options"),
    [("vit_tiny_patch16_224", {"img_size": 96}), ("beit_base_patch16_224", {"img_size": [96, 64]})],
)
def test_positions_of_another_size_are_resampled(name: str, options: dict) -> None:
    source = timm.create_model(name, depth=1).state_dict()
    backbone = build_backbone(name, options={"depth": 1, **options})
    report = load_backbone(backbone, source)
    assert report.coverage == 100 and not report.reshaped


def test_tables_of_another_size_without_a_rule_of_timm_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(timm.create_model("cait_xxs24_224", depth=1).state_dict(), tmp_path / "cait.pth")
    backbone = build_backbone("cait_xxs24_224", options={"depth": 1, "img_size": 96})
    report = load_pretrained(backbone, str(tmp_path / "cait.pth"))
    assert [entry.split()[0] for entry in report.reshaped] == ["pos_embed"]
    assert "has 1 entry of another shape than the backbone" in caplog.text
    assert "pos_embed" in caplog.text


def test_a_config_names_a_file(tmp_path: Path, official: dict[str, Tensor]) -> None:
    torch.save(official, tmp_path / "van.pth")
    report = load_pretrained(build_backbone("van_b0"), str(tmp_path / "van.pth"))
    assert report.coverage == 100


def test_a_config_asks_for_the_weights_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build_backbone("resnet18.a1_in1k")
    published = randomized(timm.create_model("resnet18"))
    asked = {}

    def create_model(name: str, **options: object) -> nn.Module:
        asked[name] = options
        return published

    monkeypatch.setattr(timm, "create_model", create_model)
    assert load_pretrained(backbone, "timm").coverage == 100
    # Another number of classes than the published one would make timm drop the classifier.
    assert asked == {"resnet18.a1_in1k": {"pretrained": True, "num_classes": 1000}}
    torch.testing.assert_close(backbone.body.bn1.bias, published.bn1.bias)


def test_weights_that_timm_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"timm cannot give weights for van_b5\.untrained"):
        load_pretrained(build_backbone("van_b5", options={"depths": (1, 1, 1, 1)}), "timm")


# -------------------------------------------------------------------------- runs of this package

TINY = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1)}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def write_checkpoint(path: Path, model: nn.Module, ema: nn.Module | None = None, **config) -> Path:
    """A checkpoint as the trainer writes it, of a model that holds ``model`` as its backbone."""

    def state(backbone: nn.Module) -> dict[str, Tensor]:
        whole = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
        return {**whole, "other.weight": torch.zeros(3)}

    content = {"model": state(model), "ema": None if ema is None else state(ema)}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}
    settings = {"model": {**config, "backbone": {"name": "van_b0", **config.get("backbone", {})}}}
    extra = {"step": 5, "optimizer": optimizer, "config": settings, "info": {}}
    save_checkpoint(path, {**content, **extra})
    return path


@pytest.mark.parametrize("name", ["van_b0", "resnet18"])
def test_a_classifier_trained_here_is_the_backbone_of_a_detector(name: str, tmp_path: Path) -> None:
    options = TINY if name == "van_b0" else {}
    source = randomized(build_classifier(name, 4, options=options))
    write_checkpoint(best_path(tmp_path), source, **HALF)
    backbone = build_backbone(name, options=options).eval()
    report = load_pretrained(backbone, str(best_path(tmp_path)))
    assert (report.coverage, report.missing, report.random_head()) == (100, [], [])
    own = backbone.state_dict()
    torch.testing.assert_close(own, {key: source.state_dict()[key] for key in own})
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        c5 = source.body.forward_features(images)
        torch.testing.assert_close(backbone(images)[-1], c5)


def test_averaged_weights_come_first_and_raw_ones_where_there_are_none(tmp_path: Path) -> None:
    raw, averaged = (build_classifier("van_b0", 4, options=TINY) for _ in range(2))
    for ema, expected in ((averaged, averaged), (None, raw)):
        path = write_checkpoint(tmp_path / "some.pt", raw, ema)
        model = build_classifier("van_b0", 4, options=TINY)
        assert load_pretrained(model, str(path)).random_head() == []
        torch.testing.assert_close(model.state_dict(), expected.state_dict())


def test_a_classifier_of_other_classes_starts_at_random_and_the_report_says_so(
    official: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(official, tmp_path / "van.pth")
    same, other = build_classifier("van_b0", 1000), build_classifier("van_b0", 200)
    report = load_pretrained(same, str(tmp_path / "van.pth"))
    assert report.random_head() == [] and "random" not in str(report)
    torch.testing.assert_close(dict(same.body.state_dict()), official)

    before = other.body.head.weight.clone()
    report = load_pretrained(other, str(tmp_path / "van.pth"))
    assert report.random_head() == [
        "head.weight reshaped (file (1000, 256), model (200, 256))",
        "head.bias reshaped (file (1000,), model (200,))",
    ]
    assert "the classifier stays random" in str(report)
    assert torch.equal(other.body.head.weight, before)
    torch.testing.assert_close(other.body.norm4.weight, official["norm4.weight"])


def test_a_file_without_a_classifier_leaves_it_random(
    official: dict[str, Tensor], tmp_path: Path
) -> None:
    backbone = {key: value for key, value in official.items() if not key.startswith("head.")}
    torch.save(backbone, tmp_path / "van.pth")
    report = load_pretrained(build_classifier("van_b0", 1000), str(tmp_path / "van.pth"))
    assert report.random_head() == ["head.weight missing", "head.bias missing"]
    assert report.coverage == 100


# -------------------------------------------------------------------------------- normalization

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("van_b0_in1k", HALVES), ("van_b0_in1k_mmseg", HALVES), ("van_b4_in22k", IMAGENET)],
)
def test_published_files_expect_the_statistics_of_their_training(
    name: str, expected: object, official: dict[str, Tensor], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("van_dense.backbones.download._check_hash", lambda *_: None)
    path = tmp_path / "van_dense" / PUBLISHED[name].url.rsplit("/", 1)[-1]
    path.parent.mkdir()
    torch.save({"state_dict": official}, path)
    for source in (name, str(path)):
        assert load_pretrained(build_backbone("van_b0"), source).normalization == expected


def test_runs_expect_what_they_were_trained_with_and_other_files_say_nothing(
    official: dict[str, Tensor], tmp_path: Path
) -> None:
    model = build_classifier("van_b0", 4, options=TINY)
    old = write_checkpoint(tmp_path / "old.pt", model, **HALF)
    classifier = write_checkpoint(tmp_path / "a.pt", model, backbone=HALF)
    detector = write_checkpoint(tmp_path / "b.pt", model)
    for path in (old, classifier):
        assert load_pretrained(model, str(path)).normalization == HALVES
    assert load_pretrained(model, str(detector)).normalization == IMAGENET
    torch.save({"config": "of another program", "state_dict": official}, tmp_path / "c.pth")
    report = load_pretrained(build_backbone("van_b0"), str(tmp_path / "c.pth"))
    assert report.normalization is None and report.mismatch(*HALVES) is None


def test_weights_of_timm_expect_what_timm_says(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build_backbone("resnet18.a1_in1k")
    monkeypatch.setattr(timm, "create_model", lambda name, **_: backbone.body)
    assert load_pretrained(backbone, "timm").normalization == IMAGENET


def test_wrong_statistics_are_explained() -> None:
    report = LoadReport("official", normalization=PUBLISHED["van_b0_in1k"].normalization)
    assert report.mismatch((0.5, 0.5, 0.5), (127.5 / 255,) * 3) is None
    text = report.mismatch(*IMAGENET)
    assert text is not None
    assert "expect images normalised with mean (0.5, 0.5, 0.5) and std (0.5, 0.5, 0.5)" in text
    assert "model.backbone.mean is (0.485, 0.456, 0.406)" in text and "3 points" in text
    assert report.mismatch(HALVES[0], IMAGENET[1]) is not None  # one of them is enough


@pytest.mark.parametrize("key", ["backbone.bottom_up.stem.conv1.weight", "backbone.fpn.x.weight"])
def test_a_whole_detector_of_another_code_base_is_sent_to_its_converter(key):
    with pytest.raises(ValueError, match=r"whole detector .* van-dense convert"):
        load_backbone(timm.create_model("resnet18"), {key: torch.zeros(1)})


def test_retries_of_the_hub_stay_off_the_screen(monkeypatch, caplog) -> None:
    hub = logging.getLogger("huggingface_hub.utils._http")
    before = logging.getLogger("huggingface_hub").level

    def retry(*_, **__):
        hub.warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no network")

    model = build_backbone("resnet18")
    monkeypatch.setattr(timm, "create_model", retry)
    with pytest.raises(ValueError, match=r"no network.*name a file instead"):
        load_pretrained(model, "timm")
    assert "Retrying" not in caplog.text and logging.getLogger("huggingface_hub").level == before
