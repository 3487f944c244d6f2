"""From samples to the batch of one step: images are padded to one size and stacked."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from van_dense.core.structures import IGNORE_LABEL, Batch, Sample, Size, instances_from_sample


def collate(samples: Sequence[Sample], size_divisor: int = 32, min_size: Size = (0, 0)) -> Batch:
    """Pad samples to one size, a multiple of ``size_divisor``, at least ``min_size``, and stack.

    No sample at all, or an annotation that only some samples carry, is a ValueError.
    """
    if not samples:
        raise ValueError("cannot collate an empty list of samples")

    def padded_side(axis: int) -> int:
        longest = max(min_size[axis], *(sample.size[axis] for sample in samples))
        return -(-longest // size_divisor) * size_divisor

    height, width = padded_side(0), padded_side(1)
    images = torch.zeros(len(samples), 3, height, width, dtype=torch.uint8)
    for image, sample in zip(images.numpy(), samples, strict=True):
        assert sample.image.dtype == np.uint8  # for another dtype OpenCV would write elsewhere
        h, w = sample.size
        # 0.3 ms for an image of 800 pixels, against 0.8 with a permuted copy.
        cv2.split(np.ascontiguousarray(sample.image), list(image[:, :h, :w]))

    batch = Batch(
        images=images,
        sizes=[sample.size for sample in samples],
        orig_sizes=[sample.orig_size for sample in samples],
        image_ids=[sample.image_id for sample in samples],
    )
    if _all_have(samples, "boxes"):
        batch.targets = [instances_from_sample(sample) for sample in samples]
    if _all_have(samples, "semantic"):
        maps = [sample.semantic for sample in samples]
        batch.semantic = _pad_maps(maps, (height, width), IGNORE_LABEL).long()
    if _all_have(samples, "panoptic"):
        maps = [sample.panoptic for sample in samples]
        batch.panoptic = _pad_maps(maps, (height, width), 0, torch.int32)
        batch.segments = [sample.segments or [] for sample in samples]
    if _all_have(samples, "saliency"):
        maps = [sample.saliency for sample in samples]
        batch.saliency = _pad_maps(maps, (height, width), 0).float() / 255
    if _all_have(samples, "label"):
        batch.labels = torch.tensor([sample.label for sample in samples])
    if _all_have(samples, "proposals"):
        batch.proposals = [s.proposals for s in samples if s.proposals is not None]
    return batch


def _all_have(samples: Sequence[Sample], name: str) -> bool:
    has = [getattr(sample, name) is not None for sample in samples]
    if any(has) and not all(has):
        missing = [sample.image_id for sample, present in zip(samples, has, strict=True)]
        raise ValueError(f"samples of one batch disagree: {name} is missing for some of {missing}")
    return all(has)


def _pad_maps(
    maps: Sequence[np.ndarray | None], size: Size, fill: int, dtype: torch.dtype = torch.int16
) -> Tensor:
    padded = torch.full((len(maps), *size), fill, dtype=dtype)
    for target, values in zip(padded, maps, strict=True):
        assert values is not None  # _all_have
        height, width = values.shape
        target[:height, :width] = torch.from_numpy(np.ascontiguousarray(values))
    return padded
