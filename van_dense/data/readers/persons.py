"""Instances of a keypoint data set as a top-down model takes them: one by one, or as proposals.

Training takes one annotated instance at a time; evaluation whole images, each with the boxes to
predict poses for.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from van_dense.core.crops import fit_aspect
from van_dense.core.structures import Instances, Sample, Size
from van_dense.data.dataset import Subset
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import with_sigmas

logger = logging.getLogger(__name__)

# Crops are taken from a JPEG reduced by f where the box, with the aspect of the crop, has at least
# 1.6 f times its size. Then even the smallest region of SimpleBaseline's augmentation (1.25 times
# the box, halved) is not enlarged because of the reduction; only half bodies can be.
_SPARE = 1.6
_FACTORS = (8, 4, 2)


class Persons(Subset):
    """A ``DenseDataset`` whose items are single instances with a labelled joint, for training.

    Crowds and instances without a labelled joint are left out, with a line that counts them; it is
    a ValueError if none remains. Ids and sizes are those of the image. Boxes and keypoints are in
    pixels of the image as it was read, which may be reduced.

    Args:
        images: Reader of keypoint annotations.
        decode_for: (height, width) of the crops; larger instances are read from reduced JPEGs.
            None reads every image in full.
        max_images: Number of images, from the first on, whose instances are taken; None takes all.
    """

    dataset: CocoDataset

    def __init__(
        self, images: CocoDataset, *, decode_for: Size | None = None, max_images: int | None = None
    ) -> None:
        self._decode_for = decode_for
        items: list[tuple[int, int]] = []
        crowds = unlabelled = 0
        for index in range(min(len(images), max_images or len(images))):
            instances = images.instances(index)
            learnable = _learnable(instances)
            items += [(index, position) for position in learnable.nonzero()[:, 0].tolist()]
            crowd = 0 if instances.crowd is None else int(instances.crowd.sum())
            crowds += crowd
            unlabelled += len(instances) - crowd - int(learnable.sum())
        name = images.info.name
        if not items:
            what = f"none of {unlabelled} instances has a labelled joint (visibility 1 or 2)"
            fix = "are these the annotations with keypoints?"
            raise ValueError(f"data set {name!r}: {what}; {fix}")
        what = "%s: instances: %d; left out: %d without a labelled joint, %d as crowds"
        logger.info(what, name, len(items), unlabelled, crowds)
        super().__init__(images, [index for index, _ in items])
        self.info = with_sigmas(images.info)
        # see ``HasNotes``
        self.notes = [what % (name, len(items), unlabelled, crowds)] if unlabelled + crowds else []
        self._positions = np.array([position for _, position in items])

    def raw(self, index: int) -> Sample:
        """Read the image of one instance, with that instance alone; see ``DenseDataset``."""
        image_index = int(self.positions[index])
        one = self.dataset.instances(image_index)[torch.from_numpy(self._positions[[index]])]
        boxes = one.boxes.numpy()
        image, factor = self.dataset.image(image_index, self._factor(boxes[0]))
        assert one.keypoints is not None  # it has a labelled one
        keypoints = one.keypoints.numpy().copy()
        keypoints[..., :2] /= factor
        path = self.dataset.path(image_index)
        sample = Sample(image, self.image_id(index), path, self.size(index))
        sample.boxes, sample.labels = boxes / np.float32(factor), one.labels.numpy()
        sample.crowd, sample.keypoints = np.zeros(1, dtype=bool), keypoints
        return sample

    def _factor(self, box: np.ndarray) -> int:
        """How much the image may be reduced for the crop of a box."""
        if self._decode_for is None:
            return 1
        width, _ = fit_aspect(box[2:] - box[:2], self._decode_for)
        ratio = width / self._decode_for[1] / _SPARE
        return next((factor for factor in _FACTORS if ratio >= factor), 1)


class PersonImages(Subset):
    """A ``DenseDataset`` of images with the boxes that poses are predicted for, for evaluation.

    Args:
        images: Reader of keypoint annotations.
        detections: Boxes by image id, from ``read_detections``; None takes the annotated boxes of
            instances with a labelled joint, with score 1.
        max_images: Number of images to take, from the first on; None takes all.
    """

    dataset: CocoDataset

    def __init__(
        self,
        images: CocoDataset,
        detections: Mapping[int | str, Instances] | None = None,
        *,
        max_images: int | None = None,
    ) -> None:
        super().__init__(images, range(min(len(images), max_images or len(images))))
        self.info = with_sigmas(images.info)
        self._detections = detections

    def raw(self, index: int) -> Sample:
        """Read one image with its annotation and proposals; see ``DenseDataset``."""
        return replace(super().raw(index), proposals=self.proposals(index))

    def proposals(self, index: int) -> Instances:
        """Boxes, labels and scores to predict poses for, without reading the image."""
        if self._detections is not None:
            return self._detections.get(self.image_id(index), _NOTHING)
        annotated = self.dataset.instances(int(self.positions[index]))
        annotated = annotated[_learnable(annotated)]
        return Instances(annotated.boxes, annotated.labels, torch.ones(len(annotated)))


_NOTHING = replace(Instances.empty(), scores=torch.zeros(0))


def _learnable(instances: Instances) -> torch.Tensor:
    """Which instances, bool (N,), are no crowd and have a labelled joint."""
    if instances.keypoints is None:
        return torch.zeros(len(instances), dtype=torch.bool)
    labelled = (instances.keypoints[..., 2] > 0).any(dim=1)
    return labelled if instances.crowd is None else labelled & ~instances.crowd
