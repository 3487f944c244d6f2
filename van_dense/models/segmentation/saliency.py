"""Salient object detection with EDN on any backbone, as in Table 17 of the VAN paper.

Source: Wu et al., "EDN: Salient Object Detection via Extremely-Downsampled Network", IEEE TIP 2022:
every output of the decoder learns the mask, the finest is the result.
Legend: B images; maps are (B, 1, H, W).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.core.structures import Batch, Prediction, Size
from van_dense.models.conv import explain_single_values
from van_dense.models.dense_model import DenseModel
from van_dense.models.losses import synced_count
from van_dense.models.postprocess import check_finite

DICE_EPS = 1e-5  # EDN's


class SaliencyModel(DenseModel):
    """Backbone to c2..c5, and a decoder to a list of logits (B, 1, h, w), the finest first."""

    def __init__(self, backbone: nn.Module, decoder: nn.Module) -> None:
        super().__init__(backbone)
        self.decoder = decoder

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses bce and dice, each summed over the outputs with equal weights.

        Cross entropy is a mean over the valid pixels of all processes. Dice is taken over those of
        this process's whole batch, not image by image, so an image without any salient object
        counts too. A batch without saliency masks is a ValueError.
        """
        if batch.saliency is None:
            missing = f"the images {batch.image_ids} have no saliency masks to learn from"
            raise ValueError(f"{missing}; check the mask folder of the data set")
        target, valid = batch.saliency[:, None], _valid_pixels(batch)
        count = synced_count(valid.sum(), valid.device)
        bce = dice = target.new_zeros(())
        features = self.backbone(self.preprocess(batch))
        with explain_single_values():
            outputs = self.decoder(features)
        for output in outputs:
            logits = _resize(output.float(), (target.shape[-2], target.shape[-1]))
            sums = F.binary_cross_entropy_with_logits(logits, target, valid, reduction="sum")
            bce = bce + sums / count
            dice = dice + dice_loss(logits.sigmoid() * valid, target * valid)
        return {"bce": bce, "dice": dice}

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """The saliency map of each image in original pixels.

        Probabilities are made at the size of the input and then resized, as in the recipe.
        """
        outputs = self.decoder(self.backbone(self.preprocess(batch)))
        for i in range(len(batch.images)):
            check_finite([output[i] for output in outputs], batch.image_ids[i : i + 1])
        size = (batch.images.shape[-2], batch.images.shape[-1])
        # One after the other, and on the CPU: the map of a huge original exists only once.
        logits = outputs[0].float().split(1)
        probabilities = (_resize(one, size).sigmoid()[0].cpu() for one in logits)
        return self.in_original_pixels(probabilities, batch)

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (B, 1, H, W) of normalised images (B, 3, H, W)."""
        logits = self.decoder(self.backbone(images))[0].float()
        return _resize(logits, (images.shape[-2], images.shape[-1])).sigmoid()

    def in_original_pixels(self, maps: Iterable[Tensor], batch: Batch) -> list[Prediction]:
        """Saliency maps of a batch from probabilities (1, H, W) of its padded images."""
        predictions = []
        for i, (probability, (height, width)) in enumerate(zip(maps, batch.sizes, strict=True)):
            original = batch.orig_sizes[i]
            # Rounding of the interpolation may step over 1.
            resized = _resize(probability[None, :, :height, :width], original)[0, 0].clamp_(0, 1)
            predictions.append(Prediction(batch.image_ids[i], original, saliency=resized.numpy()))
        return predictions

    def flops_forward(self, size: Size) -> object:
        """Run backbone and decoder on one zero image."""
        return self.decoder(self.backbone(self.zeros(3, *size)))


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice coefficient, 2 sum(p t) / (sum(p) + sum(t)), of all pixels together.

    The small constant stands in numerator and denominator, so a black prediction of black masks is
    perfect.
    """
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + DICE_EPS) / (probability.sum() + target.sum() + DICE_EPS)


def _resize(maps: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _valid_pixels(batch: Batch) -> Tensor:
    """float32 (B, 1, H, W), 1 inside each image and 0 in its padding."""
    valid = torch.zeros_like(batch.images[:, :1], dtype=torch.float32)
    for inside, (height, width) in zip(valid, batch.sizes, strict=True):
        inside[:, :height, :width] = 1
    return valid
