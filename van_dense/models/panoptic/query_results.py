"""From the classes and masks of queries to segments, instances and label maps of one image.

Source: facebookresearch/Mask2Former ``maskformer_model.py`` (``panoptic_inference``,
``instance_inference``, ``semantic_inference``).
Masks of queries reach original pixels one by one, or some rows at a time: a hundred of them on a
4K image would take 3 GiB.
Legend: Q queries, C classes, h and w of mask logits, H and W of the original image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.core.segments import boxes_around
from van_dense.core.structures import RLE, Instances, Segment, Size, encode_masks

_BAND_ELEMENTS = 2**24  # of the masks and classes of some rows: 64 MiB


@dataclass(frozen=True)
class QueryFilter:
    """From the masks of queries to results."""

    score_threshold: float  #: queries with this score or a lower one give no segment
    mask_threshold: float  #: lowest probability of a pixel of a mask
    overlap_threshold: float  #: segments of whose mask a smaller fraction is visible are dropped
    max_instances: int  #: pairs of query and class considered for an image


class Resizing:
    """Bilinear steps from mask logits (..., h, w) to original pixels, as two matrices.

    Masks are upsampled to the padded input, cut to the valid part of it and resized to the original
    image, as Detectron2's ``sem_seg_postprocess`` does; on a grid all of that is separable.

    Args:
        low: (h, w).
        padded: (height, width) of the network's input.
        valid: (height, width) of the image in it.
        original: (H, W).
        device: Where the masks are.
    """

    def __init__(
        self, low: Size, *, padded: Size, valid: Size, original: Size, device: torch.device
    ) -> None:
        self.size = original
        self._rows, self._columns = (
            _weights(*lengths, device=device)
            for lengths in zip(low, padded, valid, original, strict=True)
        )

    def __call__(self, logits: Tensor, rows: slice = slice(None)) -> Tensor:
        """Some rows of the resized logits, all by default; float32 (..., H, W)."""
        return self._rows[rows] @ logits @ self._columns.T


def _weights(low: int, padded: int, valid: int, original: int, *, device: torch.device) -> Tensor:
    """What every position of one side adds to every original pixel, (original, low)."""
    units = torch.eye(low, device=device)[None]
    units = F.interpolate(units, padded, mode="linear", align_corners=False)[..., :valid]
    return F.interpolate(units, original, mode="linear", align_corners=False)[0].T


def panoptic_segments(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    resize: Resizing,
    filters: QueryFilter,
    is_thing: Sequence[bool],
) -> tuple[np.ndarray, list[Segment]]:
    """Segments that do not overlap: int32 (H, W) of ids, 0 = void, and what they stand for.

    Every pixel goes to the query with the largest product of class score and mask probability. Ids
    count from 1 in the order of the queries. Stuff of one class is one segment, with the best score
    of its queries.

    Args:
        class_logits: float32 (Q, C + 1); the last class is "no object".
        mask_logits: float32 (Q, h, w).
        resize: From these masks to original pixels.
        filters: Thresholds.
        is_thing: C flags.
    """
    scores, labels = class_logits.softmax(dim=1).max(dim=1)
    kept = (labels != len(is_thing)) & (scores > filters.score_threshold)
    scores, labels, mask_logits = scores[kept], labels[kept], mask_logits[kept]
    owner = torch.zeros(resize.size, dtype=torch.int64, device=scores.device)
    if len(scores) == 0:
        return owner.to(torch.int32).cpu().numpy(), []
    best = torch.full_like(owner, -1, dtype=torch.float32)
    inside = torch.zeros_like(owner, dtype=torch.bool)
    areas = []  # of the masks, whether visible or not
    for query, (score, logits) in enumerate(zip(scores, mask_logits, strict=True)):
        probability = resize(logits).sigmoid()
        is_mask = probability >= filters.mask_threshold
        areas.append(is_mask.sum())
        weighted = score * probability
        is_better = weighted > best
        best = torch.where(is_better, weighted, best)
        inside = torch.where(is_better, is_mask, inside)
        owner.masked_fill_(is_better, query)
    won = owner.flatten().bincount(minlength=len(scores))
    visible = owner[inside].bincount(minlength=len(scores))
    ids: list[int] = []
    segments: dict[object, Segment] = {}
    table = torch.stack([labels, torch.stack(areas), won, visible], dim=1).tolist()
    for (label, area, own, shown), score in zip(table, scores.tolist(), strict=True):
        if shown == 0 or own / area < filters.overlap_threshold:
            ids.append(0)
            continue
        key = len(ids) if is_thing[label] else (label,)
        segment = segments.setdefault(key, Segment(id=len(segments) + 1, label=label, score=score))
        segment["score"] = max(segment["score"], score)
        ids.append(segment["id"])
    panoptic = torch.tensor(ids, dtype=torch.int32, device=owner.device)[owner] * inside
    return panoptic.cpu().numpy(), list(segments.values())


def thing_masks(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    resize: Resizing,
    filters: QueryFilter,
    is_thing: Sequence[bool],
) -> Instances:
    """Instances with masks as RLE and boxes around these, best first; they may overlap.

    Of all pairs of query and class the best ``max_instances`` are taken, and of these the things;
    a score is that of the class times the mean probability of the mask. Masks without a pixel are
    dropped. Arguments are those of ``panoptic_segments``.
    """
    probabilities = class_logits.softmax(dim=1)[:, :-1]
    count = min(filters.max_instances, probabilities.numel())
    scores, pair = probabilities.flatten().topk(count)
    queries, labels = pair // len(is_thing), pair % len(is_thing)
    things = torch.tensor(is_thing, device=labels.device)[labels]
    scores, queries, labels = scores[things], queries[things], labels[things]
    masks: dict[int, tuple[RLE, Tensor, float] | None] = {}
    for query in queries.unique().tolist():
        probability = resize(mask_logits[query]).sigmoid()
        is_mask = probability >= filters.mask_threshold
        if not is_mask.any():
            masks[query] = None
            continue
        box = boxes_around(is_mask[None])[0].cpu()
        encoded = encode_masks(is_mask[None].to(torch.uint8))[0]
        masks[query] = encoded, box, probability[is_mask].mean().item()
    found = [
        (score * mask[2], label, mask)
        for score, query, label in zip(
            scores.tolist(), queries.tolist(), labels.tolist(), strict=True
        )
        if (mask := masks[query]) is not None
    ]
    found.sort(key=lambda instance: -instance[0])
    return Instances(
        boxes=torch.stack([box for _, _, (_, box, _) in found]) if found else torch.zeros(0, 4),
        labels=torch.tensor([label for _, label, _ in found], dtype=torch.int64),
        scores=torch.tensor([score for score, _, _ in found], dtype=torch.float32),
        masks=[encoded for _, _, (encoded, _, _) in found],
    )


def class_map(class_logits: Tensor, mask_logits: Tensor, *, resize: Resizing) -> np.ndarray:
    """Class of every pixel, uint8 or int16 (H, W), by the sum over queries of class times mask.

    Arguments are those of ``panoptic_segments``; no pixel is void.
    """
    probabilities = class_logits.softmax(dim=1)[:, :-1]
    queries, classes = probabilities.shape
    height, width = resize.size
    band = max(1, _BAND_ELEMENTS // (width * (queries + classes)))
    labels = torch.empty(resize.size, dtype=torch.int64, device=class_logits.device)
    for top in range(0, height, band):
        masks = resize(mask_logits, slice(top, top + band)).sigmoid()
        labels[top : top + band] = torch.einsum("qc,qrk->crk", probabilities, masks).argmax(dim=0)
    return labels.to(torch.uint8 if classes <= 255 else torch.int16).cpu().numpy()
