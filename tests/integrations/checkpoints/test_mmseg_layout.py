"""Whole segmentation checkpoints of VAN-Segmentation and mmseg."""

from __future__ import annotations

import pytest
import timm
import torch
from helpers.defaults import auxiliary_fcn, build_backbone, build_loss, semantic_fpn, upernet
from helpers.defaults import inference as slide_or_whole
from torch import Tensor, nn

from van_dense.backbones.build import TimmBackbone
from van_dense.integrations.checkpoints.mmseg import load_segmenter, to_mmseg
from van_dense.models.segmentation.semantic import SemanticSegmenter

# The smallest network with all parts of a VAN; stages 1 and 2 have another expansion than 3 and 4.
SIZE = {"embed_dims": (8, 12, 16, 20), "depths": (1, 1, 2, 1)}
LOSSES = [("cross_entropy", build_loss("cross_entropy", class_weights=[1.0, 2.0, 3.0]), 1.0)]


def segmenter(decoder: str, *, num_classes: int = 3, auxiliary: bool = True, **size: object):
    """A segmenter with random weights and statistics, in evaluation mode."""
    backbone = TimmBackbone(timm.create_model("van_b0", num_classes=0, **{**SIZE, **size}))
    if decoder == "semantic_fpn":
        head: nn.Module = semantic_fpn(backbone.channels, num_classes, channels=8, head_channels=6)
        auxiliary = False
    else:
        head = upernet(backbone.channels, num_classes, channels=8)
    model = SemanticSegmenter(
        backbone,
        head,
        losses=LOSSES,
        inference=slide_or_whole(),
        auxiliary=auxiliary_fcn(backbone.channels[2], num_classes, channels=4)
        if auxiliary
        else None,
        auxiliary_weight=0.4,
    )
    for tensor in model.state_dict().values():
        tensor += 0.1 * torch.rand(tensor.shape) if tensor.ndim else 7  # counters are no floats
    return model.eval()


# Names as the module lists of mmseg give them, spelled out.
UPERNET_HEADS = {
    *(
        f"decode_head.{conv}.{part}"
        for conv in (
            *(f"psp_modules.{i}.1" for i in range(4)),
            "bottleneck",
            *(f"{kind}_convs.{i}" for kind in ("lateral", "fpn") for i in range(3)),
            "fpn_bottleneck",
        )
        for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    ),
    "decode_head.conv_seg.weight",
    "decode_head.conv_seg.bias",
    "auxiliary_head.convs.0.conv.weight",
    *(f"auxiliary_head.convs.0.bn.{k}" for k in ("weight", "bias", "running_mean", "running_var")),
    "auxiliary_head.conv_seg.weight",
    "auxiliary_head.conv_seg.bias",
}
FPN_HEADS = {
    *(
        f"neck.{kind}_convs.{i}.conv.{k}"
        for kind in ("lateral", "fpn")
        for i in range(4)
        for k in ("weight", "bias")
    ),
    *(
        f"decode_head.scale_heads.{place}.{part}"
        for place in ("0.0", "1.0", "2.0", "2.2", "3.0", "3.2", "3.4")
        for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    ),
    "decode_head.conv_seg.weight",
    "decode_head.conv_seg.bias",
}
HEADS = {"upernet": UPERNET_HEADS, "semantic_fpn": FPN_HEADS}
BLOCK = {
    "official": "backbone.block3.1.mlp.dwconv.dwconv.weight",
    "mmseg": "backbone.block3.1.mlp.dwconv.weight",
    "mmpretrain": "backbone.blocks3.1.mlp.dwconv.weight",
}


@pytest.fixture(params=HEADS)
def decoder(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("layout", BLOCK)
def test_a_written_checkpoint_has_the_names_of_the_other_code(decoder, layout):
    state = to_mmseg(segmenter(decoder).state_dict(), layout)
    heads = {k for k in state if not k.startswith("backbone.")}
    assert {k for k in heads if not k.endswith("num_batches_tracked")} == HEADS[decoder]
    assert BLOCK[layout] in state
    assert not any(".body." in key for key in state)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("layout", BLOCK)
def test_a_checkpoint_read_and_written_is_the_same_and_gives_the_same_logits(
    decoder, layout, prefix
):
    writer, reader = segmenter(decoder), segmenter(decoder)
    images = torch.rand(1, 3, 40, 72)
    assert not torch.equal(reader.logits(images), writer.logits(images))
    file = {k: v.clone() for k, v in to_mmseg(writer.state_dict(), layout).items()}
    report = load_segmenter(reader, {prefix + key: value for key, value in file.items()}, "van_b0")
    assert torch.equal(reader.logits(images), writer.logits(images))
    back = to_mmseg(reader.state_dict(), layout)
    assert back.keys() == file.keys()
    assert all(torch.equal(back[key], file[key]) for key in file)
    assert (report.layout, report.coverage) == (layout, 100.0)
    assert set(report.matched) == reader.state_dict().keys() and len(report.matched) == len(file)
    assert f"({layout} layout) fill 100.0 % of" in str(report) and "backbone" not in str(report)


def test_the_deepest_level_keeps_the_order_of_its_convolutions():
    """Three of the same shape: shapes alone would not notice an exchange."""
    state = segmenter("semantic_fpn").state_dict()
    there = to_mmseg(state, "official")
    for here, place in enumerate((0, 2, 4)):
        assert torch.equal(
            there[f"decode_head.scale_heads.3.{place}.bn.bias"],
            state[f"decoder.scale_heads.3.{here}.bn.bias"],
        )


def test_another_number_of_classes_leaves_only_the_classifiers_as_they_are():
    file = to_mmseg(segmenter("upernet", num_classes=5).state_dict(), "official")
    model = segmenter("upernet", num_classes=3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    report = load_segmenter(model, file, "van_b0")
    assert report.head == [
        f"{head}.conv_seg.{shape}"
        for head, channels in (("decoder", 8), ("auxiliary", 4))
        for shape in (
            f"weight (file (5, {channels}, 1, 1), model (3, {channels}, 1, 1))",
            "bias (file (5,), model (3,))",
        )
    ]
    own = to_mmseg(model.state_dict(), "official")
    changed = {k for k in own if not k.partition(".conv_seg.")[1]}
    assert all(torch.equal(own[k], file[k]) for k in changed)
    assert torch.equal(
        model.state_dict()["decoder.conv_seg.weight"], before["decoder.conv_seg.weight"]
    )
    classifiers = 3 * (8 + 1 + 4 + 1)
    assert report.coverage == pytest.approx(100 * (1 - classifiers / report.elements))


def test_the_auxiliary_head_of_a_file_is_left_out_where_the_model_has_none():
    file = to_mmseg(segmenter("upernet").state_dict(), "official")
    report = load_segmenter(segmenter("upernet", auxiliary=False), file, "van_b0")
    assert report.coverage == 100.0
    assert set(report.ignored) == {
        k.replace("_head", "", 1) for k in file if k.startswith("auxiliary_head.")
    }


def written(decoder: str = "upernet", **options: object) -> dict[str, Tensor]:
    return to_mmseg(segmenter(decoder, **options).state_dict(), "mmseg")


def without(state: dict[str, Tensor], beginning: str) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.startswith(beginning)}


def resized(key: str, *shape: int) -> dict[str, Tensor]:
    return {**written(), key: torch.zeros(shape)}


STATISTIC = "decode_head.bottleneck.bn.running_mean"
MISFITS = {
    "a deeper backbone": (
        lambda: written(depths=(1, 1, 3, 1)),
        "unexpected +28  backbone.body.block3.2",
    ),
    "a wider backbone": (lambda: written(embed_dims=(8, 12, 16, 24)), "file .24,.*, model .20,"),
    "another decoder": (lambda: written("semantic_fpn"), "compare backbone and decoder"),
    "no head": (lambda: segmenter("upernet").backbone.body.state_dict(), "model.backbone.weights"),
    "no auxiliary head": (lambda: without(written(), "auxiliary_head"), "set model.auxiliary"),
    "another auxiliary head": (
        lambda: resized("auxiliary_head.convs.1.conv.weight", 4, 4, 3, 3),
        "set model.auxiliary",
    ),
    "a longer vector": (
        lambda: resized("backbone.norm1.weight", 9),
        r"reshaped +1  backbone.body.norm1.weight \(file \(9,\), model \(8,\)\)",
    ),
    "a classifier of more channels": (
        lambda: resized("decode_head.conv_seg.weight", 3, 9, 1, 1),
        "reshaped +1  decoder.conv_seg.weight",
    ),
    "no statistic": (
        lambda: without(written(), STATISTIC),
        r"missing +1  decoder\.bottleneck\.bn\.running_mean",
    ),
}


@pytest.mark.parametrize("file, message", MISFITS.values(), ids=MISFITS)
def test_a_file_that_does_not_fit_changes_nothing(file, message):
    model = segmenter("upernet")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"does not fit this model(?s:.*){message}"):
        load_segmenter(model, file(), "van_b0")
    after = model.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_models_without_names_in_mmseg_say_so():
    resnet = build_backbone("resnet18")
    head = semantic_fpn(resnet.channels, 3, channels=8, head_channels=6)
    on_resnet = SemanticSegmenter(
        resnet,
        head,
        losses=LOSSES,
        inference=slide_or_whole(),
        auxiliary=None,
        auxiliary_weight=0.4,
    )
    with pytest.raises(ValueError, match="only Semantic FPN, UperNet and Light-Ham on a VAN or"):
        to_mmseg(on_resnet.state_dict(), "official")
    state = segmenter("upernet").state_dict()
    with pytest.raises(ValueError, match="only Semantic FPN, UperNet and Light-Ham on a VAN or"):
        to_mmseg(without(state, "decoder.conv_seg"), "official")
    with pytest.raises(
        ValueError, match="no segmentation checkpoint has the layout 'transformers'"
    ):
        to_mmseg(state, "transformers")
    with pytest.raises(ValueError, match=r"'neck\.x' has no counterpart in mmseg"):
        to_mmseg({**state, "neck.x": torch.zeros(1)}, "official")
