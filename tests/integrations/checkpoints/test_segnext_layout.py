"""Whole SegNeXt checkpoints, and VAN with Light-Ham: names, bits, and the rank no file holds."""

from __future__ import annotations

import pytest
import timm
import torch
from helpers.defaults import build_loss, light_ham, upernet
from helpers.defaults import inference as slide_or_whole
from torch import Tensor

from van_dense.backbones.build import TimmBackbone
from van_dense.integrations.checkpoints.mmseg import load_segmenter, to_mmseg
from van_dense.models.segmentation.semantic import SemanticSegmenter

SMALL = {"embed_dims": (8, 12, 16, 20), "depths": (1, 1, 2, 1)}  # no published size
HEAD = {
    *(f"decode_head.{conv}.conv.weight" for conv in ("squeeze", "align")),
    *(f"decode_head.{conv}.gn.{k}" for conv in ("squeeze", "align") for k in ("weight", "bias")),
    *(f"decode_head.hamburger.ham_in.conv.{k}" for k in ("weight", "bias")),
    *(f"decode_head.hamburger.ham_out.{k}" for k in ("conv.weight", "gn.weight", "gn.bias")),
    "decode_head.conv_seg.weight",
    "decode_head.conv_seg.bias",
}


def segmenter(
    backbone: str, rank: int, *, width: int = 8, num_classes: int = 3, **options: object
) -> SemanticSegmenter:
    body = TimmBackbone(timm.create_model(backbone, num_classes=0, **options))
    head = light_ham(body.channels, num_classes, channels=width, ham_channels=width, rank=rank)
    return with_decoder(body, head)


def with_decoder(body: TimmBackbone, head: torch.nn.Module) -> SemanticSegmenter:
    return SemanticSegmenter(
        body,
        head,
        losses=[("cross_entropy", build_loss("cross_entropy"), 1.0)],
        inference=slide_or_whole(),
        auxiliary=None,
        auxiliary_weight=0.4,
    )


def randomized(model: SemanticSegmenter) -> SemanticSegmenter:
    for tensor in model.state_dict().values():
        tensor += 0.1 * torch.rand(tensor.shape) if tensor.ndim else 7  # counters are no floats
    model.decoder.hamburger.ham.bases.copy_(light_ham_bases(model))
    return model.eval()


def light_ham_bases(model: SemanticSegmenter) -> Tensor:
    """The bases that every network of this width and rank has."""
    width, rank = model.decoder.hamburger.ham.bases.shape
    return light_ham([8] * 4, 2, ham_channels=width, rank=rank).hamburger.ham.bases


@pytest.mark.parametrize("layout", ["official", "mmseg"])
@pytest.mark.parametrize("backbone", ["mscan_t", "van_b0"])
def test_a_checkpoint_read_and_written_is_the_same_and_gives_the_same_logits(
    backbone: str, layout: str
) -> None:
    writer, reader = (randomized(segmenter(backbone, 4, **SMALL)) for _ in range(2))
    images = torch.rand(1, 3, 40, 72)
    assert not torch.equal(reader.logits(images), writer.logits(images))
    file = {k: v.clone() for k, v in to_mmseg(writer.state_dict(), layout).items()}
    assert {key for key in file if not key.startswith("backbone.")} == HEAD
    once = "mlp.dwconv.weight" if layout == "mmseg" else "mlp.dwconv.dwconv.weight"
    assert f"backbone.block3.1.{once}" in file
    prefixed = {f"module.{key}": value for key, value in file.items()}
    report = load_segmenter(reader, prefixed, backbone)
    assert (report.layout, report.coverage) == (layout, 100.0)
    assert torch.equal(reader.logits(images), writer.logits(images))
    back = to_mmseg(reader.state_dict(), layout)
    assert back.keys() == file.keys() and all(torch.equal(back[k], file[k]) for k in file)


# Rank of the configs that published files belong to.
RANKS = {
    ("mscan_t", 256, "official"): 16,
    ("mscan_s", 256, "official"): 16,
    ("mscan_b", 512, "official"): 64,
    ("mscan_l", 1024, "official"): 64,
    ("mscan_t", 256, "mmseg"): 16,
    ("mscan_b", 512, "mmseg"): 16,
    ("mscan_l", 1024, "mmseg"): 16,
    ("van_b0", 256, "official"): 16,
    ("van_b0", 480, "official"): 64,
    ("van_b2", 512, "official"): 64,
}


@pytest.mark.parametrize(("network", "rank"), RANKS.items(), ids=str)
def test_a_project_of_another_rank_than_the_files_is_refused(
    network: tuple[str, int, str], rank: int
) -> None:
    backbone, width, layout = network
    with torch.device("meta"):
        right = segmenter(backbone, rank, width=width)
        other = segmenter(backbone, 80 - rank, width=width)
    file = to_mmseg(right.state_dict(), layout)
    assert load_segmenter(right, file, backbone).coverage == 100.0
    with pytest.raises(
        ValueError,
        match=rf"Light-Ham of rank {rank}, .*{layout}.* the project has {80 - rank}, "
        rf".*model\.decoder\.rank={rank}",
    ):
        load_segmenter(other, file, backbone)
    assert load_segmenter(other, file, backbone, is_rank_known=True).coverage == 100.0
    with pytest.raises(
        ValueError, match=rf"Light-Ham of rank {80 - rank}, .*'{layout}' runs it with {rank},"
    ):
        to_mmseg(other.state_dict(), layout)


def test_another_number_of_classes_leaves_the_classifier_as_it_is() -> None:
    file = to_mmseg(segmenter("mscan_t", 4, num_classes=5, **SMALL).state_dict(), "official")
    report = load_segmenter(segmenter("mscan_t", 4, num_classes=3, **SMALL), file, "mscan_t")
    assert [entry.split()[0] for entry in report.head] == [
        "decoder.conv_seg.weight",
        "decoder.conv_seg.bias",
    ]


def test_a_file_of_another_relative_or_decoder_is_named() -> None:
    model = segmenter("mscan_t", 4, **SMALL)
    van = to_mmseg(segmenter("van_b0", 4, **SMALL).state_dict(), "official")
    with pytest.raises(ValueError, match="weights of VAN, and the backbone is MSCAN"):
        load_segmenter(model, van, "mscan_t")
    body = TimmBackbone(timm.create_model("mscan_t", num_classes=0, **SMALL))
    uper = to_mmseg(with_decoder(body, upernet(body.channels, 3, channels=8)).state_dict(), "mmseg")
    with pytest.raises(ValueError, match="compare backbone and decoder"):
        load_segmenter(model, uper, "mscan_t")


def test_a_layout_that_has_no_mscan_is_refused() -> None:
    with pytest.raises(ValueError, match="no code base has MSCAN in the layout 'mmpretrain'"):
        to_mmseg(segmenter("mscan_t", 4, **SMALL).state_dict(), "mmpretrain")
