"""Image classification with a whole timm model, and what makes its training harder.

Source: timm's train.py (github.com/huggingface/pytorch-image-models), which VAN-Classification
trains with: mixup and cutmix, then random erasing of the normalised images, and cross entropy with
smoothed labels.
Legend: B images, C classes.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.nn import functional as F

from van_dense.backbones.build import WholeModel
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.seeding import seeded
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.models.class_rows import Rows
from van_dense.models.dense_model import DenseModel
from van_dense.models.postprocess import check_finite


@dataclass(frozen=True)
class Regularisation:
    """What makes training harder; a smoothing, mixup, cutmix or erasing of 0 is off."""

    smoothing: float  #: fraction of each label that is spread over all classes, 0..1
    mixup: float  #: alpha of Beta(alpha, alpha), the weight of two blended images
    #: alpha of Beta(alpha, alpha), the fraction of an image that a rectangle of another one leaves
    cutmix: float
    switch_prob: float  #: probability of cutmix, where mixup is on too, 0..1
    erasing: float  #: probability that an image loses a rectangle, 0..1
    #: content of erased rectangles: "const" zeros, "rand" one random colour, "pixel" many
    erasing_mode: Literal["const", "rand", "pixel"]


class Classifier(DenseModel):
    """A timm model behind our interface.

    Images are mixed and erased in training mode only.
    """

    backbone: WholeModel

    def __init__(
        self,
        backbone: WholeModel,
        *,
        regularisation: Regularisation,
    ) -> None:
        super().__init__(backbone)
        self.regularisation = regularisation

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy with smoothed labels, and in training mode with mixed images.

        A batch without labels, with padding, or odd although pairs are mixed is a ValueError.
        """
        if batch.labels is None:
            missing = f"the images {batch.image_ids} have no class to learn"
            raise ValueError(f"{missing}; check the folders or lists of the data set")
        images, target = self._images(batch), batch.labels
        if self.training:
            seed = batch.seeds[0]
            with nullcontext() if seed is None else seeded(seed):
                images, target = self._mix(images, target, batch.image_ids)
                images = self._erase(images)
        logits = self.backbone(images).float()
        smoothing = self.regularisation.smoothing  # the same before and after mixing labels
        return {"classification": F.cross_entropy(logits, target, label_smoothing=smoothing)}

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of timm's classifier; see ``DenseModel``."""
        last = self.backbone.body.get_classifier()
        return {name: info.class_names for name, m in self.named_modules() if m is last}

    def _mix(
        self, images: Tensor, labels: Tensor, image_ids: Sequence[int | str]
    ) -> tuple[Tensor, Tensor]:
        """Blend image i with image B - 1 - i; labels become fractions (B, C)."""
        r = self.regularisation
        if r.mixup == r.cutmix == 0:
            return images, labels
        if len(images) % 2:
            raise ValueError(
                f"mixup and cutmix mix pairs, but a forward pass has {len(images)} images "
                f"({list(image_ids)}); make train.batch_size or train.micro_batch even for each "
                "process, or set model.regularisation.mixup and .cutmix to 0"
            )
        options = {"switch_prob": r.switch_prob, "num_classes": self.backbone.num_classes}
        return Mixup(r.mixup, r.cutmix, label_smoothing=0.0, **options)(images, labels)

    def _erase(self, images: Tensor) -> Tensor:
        r = self.regularisation
        if r.erasing == 0:
            return images
        # The noise of a GPU comes from its own generator, which the trainer seeds at every step.
        return RandomErasing(r.erasing, mode=r.erasing_mode, device=images.device)(images)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """The probability of each class for each image, float32 (C,).

        A padded batch is a ValueError with the image ids, and so are non-finite outputs.
        """
        logits = self.backbone(self._images(batch)).float().cpu()
        predictions = []
        for image_id, size, row in zip(batch.image_ids, batch.orig_sizes, logits, strict=True):
            check_finite([row], [image_id])
            predictions.append(Prediction(image_id, size, class_scores=row.softmax(0)))
        return predictions

    def flops_forward(self, size: Size) -> object:
        """Classify one zero image."""
        return self.backbone(self.zeros(3, *size))

    def _images(self, batch: Batch) -> Tensor:
        self.check_unpadded(batch)
        return self.preprocess(batch)

    def check_unpadded(self, batch: Batch) -> None:
        """ValueError with the image ids for a padded batch."""
        size = (batch.images.shape[-2], batch.images.shape[-1])
        if any(valid != size for valid in batch.sizes):
            raise ValueError(
                f"the images {batch.image_ids} of sizes {batch.sizes} (height, width) are padded "
                f"to {size}, which a classifier would average over; the transform must bring them "
                "to one size, and data.size_divisor must divide it"
            )
