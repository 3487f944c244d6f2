"""Top-down pose: one crop for each instance, heatmaps of its joints, joints in the image.

Source: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018
(arXiv 1804.06208); loss, flip test, rescoring and suppression as in mmpose 0.x (``JointsMSELoss``,
``TopDownCocoDataset.evaluate``).
Legend: B images, M instances of all of them, K keypoints, h and w sides of a heatmap; sizes are
(height, width); regions are as in ``crops.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image

from van_dense.core.crops import apply, invert, regions_of_boxes, to_crop
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.models.class_rows import Rows, rows_of
from van_dense.models.dense_model import DenseModel
from van_dense.models.pose.heatmap import Codec
from van_dense.models.pose.pose_nms import oks_nms
from van_dense.models.postprocess import check_finite, in_original_pixels

CHUNK = 64  # crops in one pass of predict, whatever the number of images and instances

# Boxes (M, 4) and the position of their images (M,) in a batch to joints (M, K, 3), see ``joints``.
Joints = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CropGeometry:
    """Which region around a box becomes a crop of which size."""

    size: Size  #: (height, width) of the crops in pixels; regions have the same aspect
    padding: float  #: factor of both sides of the box, such as 1.25


@dataclass(frozen=True)
class PoseScoring:
    """From the scores of boxes and joints to those of instances, and which of them stay."""

    sigmas: Sequence[float]  #: K constants of OKS, in units of sqrt(area)
    joint_threshold: float  #: the mean score of the joints above it multiplies the box score
    #: suppression of instances with almost the same pose (``oks_nms``)
    nms: Literal["hard", "soft", "none"]
    nms_threshold: float  #: threshold of ``oks_nms`` in 0..1

    def choose(
        self, keypoints: np.ndarray, box_scores: np.ndarray, *, areas: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score the instances of one image and suppress doubles.

        Args:
            keypoints: float (N, K, 3): x, y in pixels and maximum of the heatmap.
            box_scores: float (N,) in 0..1.
            areas: float (N,) square pixels of the regions, as in mmpose.

        Returns:
            int64 positions of those that stay and their scores, best first; without suppression
            all of them, in their original order.
        """
        joints = keypoints[..., 2]
        is_sure = joints > self.joint_threshold
        means = (joints * is_sure).sum(axis=1) / np.maximum(is_sure.sum(axis=1), 1)
        scores = box_scores * means
        if self.nms == "none":
            return np.arange(len(scores)), scores
        suppress = partial(oks_nms, sigmas=self.sigmas, threshold=self.nms_threshold)
        return suppress(keypoints, scores, areas=areas, soft=self.nms == "soft")


class TopDownPose(DenseModel):
    """Backbone and a head that makes heatmaps of c5.

    It learns from crops, which the loader makes, and predicts whole images, whose ``proposals`` it
    crops itself.

    Args:
        backbone: Crops (B, 3, H, W) to maps, the last of which goes to the head.
        head: Last map of the backbone to heatmaps (B, K, h, w).
        codec: Conversion between keypoints and heatmaps.
        crop: Region and size of a crop in predictions, as in the training data.
        flip_order: Position that each keypoint comes from under a flip, to average the heatmaps of
            crop and mirrored crop; None leaves the mirrored one out.
        scoring: Scores and suppression of the instances.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        codec: Codec,
        crop: CropGeometry,
        flip_order: Sequence[int] | None,
        scoring: PoseScoring,
    ) -> None:
        super().__init__(backbone)
        self.head = head
        self.codec = codec
        self.crop = crop
        self.flip_order = flip_order
        self.scoring = scoring

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Keypoints; see ``DenseModel``."""
        return rows_of(self, "final", info.keypoint_names)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error of the heatmaps of crops, a mean over all pixels and joints.

        The maps of joints that do not count are 0 in this mean, so few labelled joints make a small
        loss, as in mmpose. Crops have one instance each or none, in pixels of the crop; a crowd is
        none. No target, no keypoints and several instances are a ValueError.
        """
        keypoints = _keypoints_of_crops(batch, len(self.scoring.sigmas))
        heatmaps = self.head(self.backbone(self.preprocess(batch))[-1]).float()
        size = _size(heatmaps)
        targets, weights = self.codec.encode(keypoints, _size(batch.images), heatmap_size=size)
        return {"heatmap": (weights[..., None, None] * (heatmaps - targets)).square().mean()}

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """The pose in each proposal: its box, clipped to the image, K joints and a score in 0..1.

        An image is one proposal as a whole where the batch has none. Joints have scores in 0..1,
        the maxima of their heatmaps; they may lie outside the image.
        """
        return self.predict_by(partial(self.joints, batch), batch)

    def predict_by(self, joints: Joints, batch: Batch) -> list[Prediction]:
        """As ``predict``, of what a function such as ``joints`` finds in ``CHUNK`` boxes."""
        proposals = batch.proposals
        if proposals is None:
            proposals = [_whole_image(size) for size in batch.sizes]
        counts = [len(found) for found in proposals]
        owners = np.repeat(np.arange(len(batch)), counts)
        boxes = torch.cat([found.boxes for found in proposals]).cpu().numpy()
        chunks = [slice(start, start + CHUNK) for start in range(0, len(boxes), CHUNK)]
        # The first one is what remains if there is no instance at all.
        parts = [np.zeros((0, len(self.scoring.sigmas), 3))]
        parts += [joints(boxes[chunk], owners[chunk]) for chunk in chunks]
        keypoints = np.concatenate(parts)
        regions = self._regions(boxes)
        predictions = []
        for i, found in enumerate(proposals):
            instances = self._instances(found, keypoints[owners == i], regions[owners == i])
            predictions.append(_prediction(batch, i, instances))
        return predictions

    def _regions(self, boxes: np.ndarray) -> np.ndarray:
        return regions_of_boxes(boxes, self.crop.size, self.crop.padding)

    def joints(self, batch: Batch, boxes: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Joints in the pixels of a batch: x, y and the maximum of the heatmap.

        Args:
            batch: Images.
            boxes: float32 (M, 4), xyxy pixels, image by image.
            owners: int64 (M,), the image of each, rising.

        Returns:
            float64 (M, K, 3). Heatmaps that are not finite are a ValueError with the image id.
        """
        regions = self._regions(boxes)
        images, counts = np.unique(owners, return_counts=True)
        of_image = np.split(regions, counts.cumsum()[:-1])
        crops = [self._crops(batch, i, own) for i, own in zip(images, of_image, strict=True)]
        heatmaps = self.heatmaps(torch.cat(crops))
        for i, own_maps in zip(images, heatmaps.split(counts.tolist()), strict=True):
            check_finite([own_maps], batch.image_ids[i : i + 1])
        points, scores = self.codec.decode(heatmaps, self.crop.size)
        back = invert(to_crop(regions, self.crop.size))
        in_image = apply(back, points.cpu().numpy())
        return np.concatenate([in_image, scores.cpu().numpy()[..., None]], axis=2)

    def _crops(self, batch: Batch, index: int, regions: np.ndarray) -> Tensor:
        """Regions (N, 4) of one image as float32 (N, 3, *crop.size), 0..255, black outside."""
        height, width = batch.sizes[index]
        image = batch.images[index, :, :height, :width].float()
        grid = crop_grid(torch.from_numpy(regions.astype(np.float32)), self.crop.size, image)
        return F.grid_sample(image.expand(len(grid), -1, -1, -1), grid, align_corners=False)

    def heatmaps(self, crops: Tensor) -> Tensor:
        """Heatmaps float32 (M, K, h, w) of crops (M, 3, *crop.size) in 0..255.

        They are means of two where there is a flip test.
        """
        images = self.preprocess.normalise(crops)
        heatmaps = self.head(self.backbone(images)[-1]).float()
        if self.flip_order is None:
            return heatmaps
        mirrored = self.head(self.backbone(images.flip(3))[-1]).float()
        flipped = mirrored.flip(3)[:, self.flip_order]
        if self.codec.shifts_flip:
            flipped = torch.cat([flipped[..., :1], flipped[..., :-1]], dim=3)
        return (heatmaps + flipped) / 2

    def _instances(
        self, proposals: Instances, keypoints: np.ndarray, regions: np.ndarray
    ) -> Instances:
        """Those of one image that stay, on the CPU, in pixels of the batch."""
        scores = proposals.scores
        box_scores = np.ones(len(proposals)) if scores is None else scores.cpu().numpy()
        areas = regions[:, 2] * regions[:, 3]
        kept, final_scores = self.scoring.choose(keypoints, box_scores, areas=areas)
        # Maxima above 1 count in the ranking, as in mmpose; scores of results end at 1.
        keypoints[..., 2] = keypoints[..., 2].clip(0, 1)
        chosen = proposals.to("cpu")[torch.from_numpy(kept)]
        joints = torch.from_numpy(keypoints[kept]).float()
        surest = torch.from_numpy(final_scores.clip(0, 1)).float()
        return Instances(chosen.boxes, chosen.labels, scores=surest, keypoints=joints)

    def flops_forward(self, size: Size) -> object:
        """Run backbone and head on one zero crop."""
        return self.head(self.backbone(self.zeros(3, *size))[-1])


def _size(maps: Tensor) -> Size:
    return maps.shape[-2], maps.shape[-1]


def crop_grid(regions: Tensor, size: Size, image: Tensor) -> Tensor:
    """Where the pixels of crops lie, as ``F.grid_sample`` takes it: (N, h, w, 2), x and y.

    ``crops.to_crop`` without a turn: row and column of the grid depend on y and x alone.

    Args:
        regions: float32 (N, 4), x and y of the centre, width and height in pixels.
        size: (h, w) of the crops.
        image: (..., H, W), which the crops are cut out of.
    """
    x, y, w, h = regions.to(image.device).split(1, dim=1)
    # No matrix product as in F.affine_grid, for autocast would round it by whole pixels.
    columns = (x + w * _centres(size[1], image)) * (2 / image.shape[-1]) - 1
    rows = (y + h * _centres(size[0], image)) * (2 / image.shape[-2]) - 1
    return torch.stack(torch.broadcast_tensors(columns[:, None], rows[:, :, None]), dim=-1)


def _centres(num: int, like: Tensor) -> Tensor:
    """(1, num) centres of equal parts of the interval from -1/2 to 1/2."""
    return ((torch.arange(num, device=like.device) + 0.5) / num - 0.5)[None]


def _whole_image(size: Size) -> Instances:
    box = torch.tensor([[0.0, 0.0, size[1], size[0]]])
    return Instances(box, torch.zeros(1, dtype=torch.int64), scores=torch.ones(1))


def _prediction(batch: Batch, index: int, instances: Instances) -> Prediction:
    original, found = batch.orig_sizes[index], in_original_pixels(instances, batch, index)
    clipped = replace(found, boxes=clip_boxes_to_image(found.boxes, original))
    return Prediction(batch.image_ids[index], original, instances=clipped)


def _keypoints_of_crops(batch: Batch, num_keypoints: int) -> Tensor:
    """float32 (B, K, 3), all unlabelled where a crop shows no instance."""
    if batch.targets is None:
        missing = f"the images {batch.image_ids} have no targets to learn from"
        raise ValueError(f"{missing}; a pose model needs crops with keypoints of one instance")
    keypoints = torch.zeros(len(batch), num_keypoints, 3, device=batch.images.device)
    for image_id, target, own in zip(batch.image_ids, batch.targets, keypoints, strict=True):
        kept = target if target.crowd is None else target[~target.crowd]
        if len(kept) == 0:
            continue
        if len(kept) > 1 or kept.keypoints is None or len(kept.keypoints[0]) != num_keypoints:
            shape = None if kept.keypoints is None else tuple(kept.keypoints.shape)
            raise ValueError(
                f"image {image_id!r} has {len(kept)} instances with keypoints of shape {shape}, "
                f"but a pose model learns from crops of one instance with (1, {num_keypoints}, 3)"
            )
        own.copy_(kept.keypoints[0])
    return keypoints
