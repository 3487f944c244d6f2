"""Losses of label maps; logits come at low resolution and are brought to that of the labels here.

Cross entropy and OHEM do that band by band and keep the gradient of the small logits alone: for 150
classes at 512x512 the upsampled logits of four images would be 630 MB, their softmax as much again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from segmentation_models_pytorch import losses as smp_losses
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from van_dense.structures import IGNORE_LABEL

BAND_ELEMENTS = 2**23  # of the upsampled logits of one band: 32 MB in float32
SMP_LOSSES: dict[str, Callable[..., nn.Module]] = {
    "dice": smp_losses.DiceLoss,
    "focal": smp_losses.FocalLoss,
    "lovasz": smp_losses.LovaszLoss,
    "tversky": smp_losses.TverskyLoss,
}


def build_loss(
    name: str,
    *,
    class_weights: Sequence[float] | None = None,
    ohem_threshold: float = 0.7,
    ohem_min_kept: int = 100_000,
) -> nn.Module:
    """Make a loss that takes logits (B, C, h, w) and labels int64 (B, H, W), 255 = ignore.

    Args:
        name: cross_entropy, ohem, dice, focal, lovasz or tversky.
        class_weights: Factors of the classes; cross_entropy and ohem only.
        ohem_threshold: See ``OhemCrossEntropy``.
        ohem_min_kept: See ``OhemCrossEntropy``.

    Raises:
        ValueError: For an unknown name.
    """
    if name == "cross_entropy":
        return CrossEntropy(class_weights)
    if name == "ohem":
        return OhemCrossEntropy(class_weights, threshold=ohem_threshold, min_kept=ohem_min_kept)
    if name in SMP_LOSSES:
        return SmpLoss(name)
    known = ["cross_entropy", "ohem", *SMP_LOSSES]
    raise ValueError(f"loss {name!r} is unknown; choose one of {known}")


class CrossEntropy(nn.Module):
    """Cross entropy, as a mean over all pixels, of which ignored ones count as zero.

    This is mmseg 0.x's ``CrossEntropyLoss`` (``avg_non_ignore=False``), with which the published
    recipes were trained: images with many ignored pixels weigh less. Class weights multiply the
    loss of a pixel and do not change the divisor, unlike in ``torch.nn.CrossEntropyLoss``.

    Args:
        class_weights: C factors, or None.
    """

    weight: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weight = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (B, C, h, w) and labels (B, H, W).

        Raises:
            ValueError: When there is another number of class weights than of classes.
        """
        if self.weight is not None and len(self.weight) != logits.shape[1]:
            raise ValueError(
                f"class_weights has {len(self.weight)} entries for {logits.shape[1]} classes"
            )
        total: Tensor = _SummedCrossEntropy.apply(logits, labels, self.weight)
        return total / labels.numel()


class OhemCrossEntropy(CrossEntropy):
    """Cross entropy of the pixels that are hard: whose class has a low probability.

    Source: mmseg's ``OHEMPixelSampler``, after Shrivastava et al., CVPR 2016.

    Args:
        class_weights: C factors, or None.
        threshold: Pixels whose class has a lower probability count.
        min_kept: At least this many pixels of each image of the batch count, the hardest ones.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        *,
        threshold: float = 0.7,
        min_kept: int = 100_000,
    ) -> None:
        super().__init__(class_weights)
        self.threshold = threshold
        self.min_kept = min_kept

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (B, C, h, w) and labels (B, H, W)."""
        valid = labels != IGNORE_LABEL
        probability = _true_probability(logits, labels)
        found = probability[valid]
        if len(found) > 0:
            kept = min(self.min_kept * len(labels), len(found))
            limit = found.kthvalue(kept).values.clamp(min=self.threshold)
            labels = labels.masked_fill(probability > limit, IGNORE_LABEL)
        return super().forward(logits, labels)


class SmpLoss(nn.Module):
    """A loss of segmentation-models-pytorch over whole upsampled maps.

    Overlaps of a class are counted over the whole batch, so these losses cannot be cut into bands.

    Args:
        name: One of ``SMP_LOSSES``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.loss = SMP_LOSSES[name]("multiclass", ignore_index=IGNORE_LABEL)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (B, C, h, w) and labels (B, H, W); 0 when every pixel is ignored."""
        if not (labels != IGNORE_LABEL).any():
            return logits.float().sum() * 0
        size = (labels.shape[-2], labels.shape[-1])
        upsampled = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
        return self.loss(upsampled, labels)


class _SummedCrossEntropy(torch.autograd.Function):
    """Sum of the cross entropy of upsampled logits, and its gradient, one band at a time."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
        needs_gradient = ctx.needs_input_grad[0]
        total = logits.new_zeros((), dtype=torch.float32)
        gradient = torch.zeros_like(logits, dtype=torch.float32) if needs_gradient else None
        for image, rows, cells in _bands(logits, labels):
            small = logits[image : image + 1, :, cells].detach().float()
            with torch.enable_grad():
                small.requires_grad_(needs_gradient)
                band = _upsample(small, logits, labels, rows=rows, first=cells.start)
                loss = F.cross_entropy(
                    band,
                    labels[image : image + 1, rows],
                    weight=weight,
                    ignore_index=IGNORE_LABEL,
                    reduction="sum",
                )
                if gradient is not None:
                    gradient[image : image + 1, :, cells] += torch.autograd.grad(loss, small)[0]
            total += loss.detach()
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad_output).to(ctx.dtype), None, None


@torch.no_grad()
def _true_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Probability (B, H, W) of the class that each label names; ignored ones give any value."""
    probability = torch.empty(labels.shape, dtype=torch.float32, device=labels.device)
    for image, rows, cells in _bands(logits, labels):
        small = logits[image : image + 1, :, cells].float()
        band = _upsample(small, logits, labels, rows=rows, first=cells.start)
        wanted = labels[image : image + 1, rows]
        index = wanted.masked_fill(wanted == IGNORE_LABEL, 0)[:, None]
        probability[image : image + 1, rows] = band.softmax(dim=1).gather(1, index)[:, 0]
    return probability


def _bands(logits: Tensor, labels: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """Image, rows of the labels, and the rows of the logits that these are interpolated from."""
    height, cells = labels.shape[-2], logits.shape[-2]
    step = max(1, BAND_ELEMENTS // (logits.shape[1] * labels.shape[-1]))
    for image in range(len(labels)):
        for start in range(0, height, step):
            stop = min(start + step, height)
            first = max(0, int((start + 0.5) * cells / height - 0.5))
            last = min(cells, int((stop - 0.5) * cells / height - 0.5) + 2)
            yield image, slice(start, stop), slice(first, last)


def _upsample(small: Tensor, logits: Tensor, labels: Tensor, *, rows: slice, first: int) -> Tensor:
    """Rows of the bilinear upsampling of ``logits``, from its rows ``small`` alone.

    Columns are PyTorch's; rows are mixed here, since a band starts between two cells.
    """
    height, cells = labels.shape[-2], logits.shape[-2]
    y = (torch.arange(rows.start, rows.stop, device=small.device) + 0.5) * cells / height - 0.5
    y = y.clamp(0, cells - 1)
    above = y.long()
    weight = (y - above).to(small.dtype)[:, None]
    below = (above + 1).clamp(max=cells - 1)
    mixed = small[:, :, above - first].lerp(small[:, :, below - first], weight)
    size = (mixed.shape[-2], labels.shape[-1])
    return F.interpolate(mixed, size, mode="bilinear", align_corners=False)
