"""Losses of label maps; logits come at low resolution and are brought to that of the labels here.

Cross entropy, OHEM and focal loss are sums over pixels: they are taken band by band, and nothing
but the gradient of the small logits is kept. For 150 classes at 512x512 the upsampled logits of
four images would be 630 MB, their softmax as much again. Means are local to a process, as in mmseg.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from segmentation_models_pytorch import losses as smp_losses
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from van_dense.core.structures import IGNORE_LABEL

BAND_ELEMENTS = 2**22  # of the upsampled logits of one band: 17 MB in float32
WHOLE_LOSSES: dict[str, Callable[..., nn.Module]] = {
    "dice": smp_losses.DiceLoss,
    "lovasz": smp_losses.LovaszLoss,
    # smp's own 0.5 and 0.5 are Dice; these are the best ones of Salehi et al., MLMI 2017.
    "tversky": partial(smp_losses.TverskyLoss, alpha=0.3, beta=0.7),
}
BandLoss = Callable[[Tensor, Tensor], Tensor]  # float32 (1, C, r, W), labels (1, r, W) to their sum


def build_loss(
    name: str, *, class_weights: Sequence[float] | None, ohem_threshold: float, ohem_min_kept: int
) -> nn.Module:
    """Make a loss that takes logits (B, C, h, w) and labels int64 (B, H, W), 255 = ignore.

    Args:
        name: cross_entropy, ohem, dice, focal, lovasz or tversky; others are a ValueError.
        class_weights: C factors or None; a ValueError but for cross_entropy and ohem.
        ohem_threshold: Pixels whose class has a lower probability count, in 0..1.
        ohem_min_kept: At least this many pixels of each image count, the hardest ones.
    """
    if name == "cross_entropy":
        return CrossEntropy(class_weights)
    if name == "ohem":
        return OhemCrossEntropy(class_weights, threshold=ohem_threshold, min_kept=ohem_min_kept)
    if class_weights is not None:
        raise ValueError(f"class_weights work with cross_entropy and ohem, not with {name!r}")
    if name == "focal":
        return Focal()
    if name in WHOLE_LOSSES:
        return WholeLoss(name)
    known = ["cross_entropy", "ohem", "focal", *WHOLE_LOSSES]
    raise ValueError(f"loss {name!r} is unknown; choose one of {known}")


class CrossEntropy(nn.Module):
    """Cross entropy, as a mean over all pixels, of which ignored ones count as zero.

    This is mmseg 0.x's ``CrossEntropyLoss`` (``avg_non_ignore=False``), with which the published
    recipes were trained: images with many ignored pixels weigh less. Class weights multiply the
    loss of a pixel and do not change the divisor, unlike in ``torch.nn.CrossEntropyLoss``; they
    are C factors, or None.
    """

    def __init__(self, class_weights: Sequence[float] | None) -> None:
        super().__init__()
        self.class_weights = class_weights

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (B, C, h, w) and labels (B, H, W); ValueError if weights are not C."""
        weight, num_classes = None, logits.shape[1]
        if self.class_weights is not None:
            if (num := len(self.class_weights)) != num_classes:
                raise ValueError(f"class_weights has {num} entries for {num_classes} classes")
            # Made here, so that it is where the logits are: losses need not belong to a model.
            weight = torch.tensor(self.class_weights, dtype=torch.float32, device=logits.device)
        summed = partial(F.cross_entropy, weight=weight, ignore_index=IGNORE_LABEL, reduction="sum")
        return _sum_of_bands(logits, labels, summed) / labels.numel()


class OhemCrossEntropy(CrossEntropy):
    """Cross entropy of the pixels that are hard: whose class has a low probability.

    Source: mmseg's ``OHEMPixelSampler``, after Shrivastava et al., CVPR 2016.

    Args:
        class_weights: C factors, or None.
        threshold: Pixels whose class has a lower probability count, in 0..1.
        min_kept: At least this many pixels of each image of the batch count, the hardest ones.
    """

    def __init__(
        self, class_weights: Sequence[float] | None, *, threshold: float, min_kept: int
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


class Focal(nn.Module):
    """smp's ``FocalLoss``: one sigmoid for each class, gamma 2, mean over valid pixels and classes.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (B, C, h, w) and labels (B, H, W); 0 when every pixel is ignored."""
        num_valid = (labels != IGNORE_LABEL).sum().clamp(min=1)
        return _sum_of_bands(logits, labels, _focal_sum) / (num_valid * logits.shape[1])


def _focal_sum(band: Tensor, labels: Tensor) -> Tensor:
    valid = labels != IGNORE_LABEL
    true = F.one_hot(labels[valid], band.shape[1])
    # smp's multiclass mode is the same sum as a Python loop over classes.
    return smp_losses.FocalLoss("binary", reduction="sum")(band.movedim(1, -1)[valid], true)


class WholeLoss(nn.Module):
    """A loss of segmentation-models-pytorch that needs the whole upsampled maps at once.

    Dice and Tversky divide sums over the batch, Lovász sorts its pixels. In smp's mean over classes
    those of Dice and Tversky that the batch lacks count as 0, Lovász leaves them out. The names
    are those of ``WHOLE_LOSSES``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.loss = WHOLE_LOSSES[name]("multiclass", ignore_index=IGNORE_LABEL)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (B, C, h, w) and labels (B, H, W); 0 when every pixel is ignored."""
        if (labels == IGNORE_LABEL).all():  # smp's Lovász would give an empty tensor
            return logits.float().sum() * 0
        size = (labels.shape[-2], labels.shape[-1])
        upsampled = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
        return self.loss(upsampled, labels)


def _sum_of_bands(logits: Tensor, labels: Tensor, loss: BandLoss) -> Tensor:
    """Sum of ``loss`` over all bands of the upsampled logits, in float32."""
    needs_gradient = torch.is_grad_enabled() and logits.requires_grad
    total: Tensor = _SumOfBands.apply(logits, labels, loss, needs_gradient)
    return total


class _SumOfBands(torch.autograd.Function):
    """The sum and its gradient with respect to the small logits, in one pass over the bands."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, loss: BandLoss, needs_gradient: bool
    ) -> Tensor:
        total = logits.new_zeros((), dtype=torch.float32)
        gradient = torch.zeros_like(logits, dtype=torch.float32) if needs_gradient else None
        for image, rows, source in _bands(logits, labels):
            small = logits[image : image + 1, :, source].detach().float()
            with torch.enable_grad():  # autocast lowers nothing in here: no matrix products
                small.requires_grad_(needs_gradient)
                band = _upsample(small, logits, labels, rows=rows, first=source.start)
                part = loss(band, labels[image : image + 1, rows])
                if gradient is not None:
                    gradient[image : image + 1, :, source] += torch.autograd.grad(part, small)[0]
            total += part.detach()
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        # The factor of a GradScaler comes in before the cast, so that float16 holds the product. In
        # place, since logits at full resolution are large; a second backward pass is an error.
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(grad_output).to(ctx.dtype), None, None, None


@torch.no_grad()
def _true_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Probability (B, H, W) of the class that each label names; ignored ones give any value."""
    probability = torch.empty(labels.shape, dtype=torch.float32, device=labels.device)
    for image, rows, source in _bands(logits, labels):
        small = logits[image : image + 1, :, source].float()
        band = _upsample(small, logits, labels, rows=rows, first=source.start)
        true = labels[image : image + 1, rows]
        index = true.masked_fill(true == IGNORE_LABEL, 0)[:, None]
        probability[image : image + 1, rows] = band.softmax(dim=1).gather(1, index)[:, 0]
    return probability


def _bands(logits: Tensor, labels: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """Image, rows of the labels, and the rows of the logits that these are interpolated from."""
    height, small_height = labels.shape[-2], logits.shape[-2]
    step = max(1, BAND_ELEMENTS // (logits.shape[1] * labels.shape[-1]))
    for image in range(len(labels)):
        for start in range(0, height, step):
            stop = min(start + step, height)
            first = _row_above(start, height, small_height)
            last = _row_above(stop - 1, height, small_height) + 2
            yield image, slice(start, stop), slice(first, min(last, small_height))


def _row_above(row: int, height: int, small_height: int) -> int:
    """Row of the logits at or above a row of the labels.

    This is floor((row + 0.5) small_height / height - 0.5), in integers, since one rounding error
    would name a row outside the band.
    """
    return max(0, ((2 * row + 1) * small_height - height) // (2 * height))


def _upsample(small: Tensor, logits: Tensor, labels: Tensor, *, rows: slice, first: int) -> Tensor:
    """Rows of the bilinear upsampling of ``logits``, from its rows ``small`` alone.

    Columns are PyTorch's; rows are mixed here, since a band starts between two rows of the logits.
    """
    height, small_height = labels.shape[-2], logits.shape[-2]
    if logits.shape[-2:] == labels.shape[-2:]:
        return small[:, :, rows.start - first : rows.stop - first]
    odd = 2 * torch.arange(rows.start, rows.stop, device=small.device) + 1
    twice = odd * small_height - height
    above = (twice // (2 * height)).clamp(min=0)
    below = (above + 1).clamp(max=small_height - 1)
    weight = (twice.clamp(min=0) - 2 * height * above) / (2 * height)
    mixed = small[:, :, above - first].lerp(small[:, :, below - first], weight[:, None])
    size = (mixed.shape[-2], labels.shape[-1])
    return F.interpolate(mixed, size, mode="bilinear", align_corners=False)
