"""Mean and standard deviation of the pixels that a backbone expects."""

from collections.abc import Sequence

from timm.models import get_pretrained_cfg

from van_dense.backbones.download import IMAGENET, Normalization


def statistics_of(
    name: str, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Normalization:
    """Statistics of each channel, RGB, of pixels in 0..1: those given, or what timm says.

    VAN has ImageNet's unless others are given: all its downstream recipes take them
    (VAN-Segmentation and mmdet configs), although the published ImageNet-1K weights were trained
    with 0.5. So have models of which timm knows no statistics.

    Args:
        name: timm name of the backbone, with or without the tag of its weights.
        mean: Given mean, or None.
        std: Given standard deviation, or None.
    """
    usual = None if name.startswith("van_") else get_pretrained_cfg(name)
    known = IMAGENET if usual is None else Normalization(tuple(usual.mean), tuple(usual.std))
    return Normalization(
        known.mean if mean is None else tuple(mean), known.std if std is None else tuple(std)
    )
