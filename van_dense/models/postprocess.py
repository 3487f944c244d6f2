"""From results in the pixels of the network input to results in the original image.

Legend: N instances, M mask resolution; boxes xyxy pixels; size is (height, width).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image, nms

from van_dense.core.structures import RLE, Batch, Instances, Prediction, Size, encode_masks


@dataclass(frozen=True)
class DetectionFilter:
    """From scored boxes to detections: ``score > score_threshold``, NMS by class, the best few."""

    score_threshold: float
    nms_iou: float
    max_detections: int

    def per_class(self, boxes: Tensor, scores: Tensor, *, size: Size) -> Instances:
        """Filter class-specific boxes (R, C, 4) with scores (R, C)."""
        region, label = (scores > self.score_threshold).nonzero(as_tuple=True)
        return self.labelled(boxes[region, label], scores[region, label], labels=label, size=size)

    def labelled(self, boxes: Tensor, scores: Tensor, *, labels: Tensor, size: Size) -> Instances:
        """Filter boxes (R, 4) above the threshold with scores (R,) and labels (R,)."""
        boxes = clip_boxes_to_image(boxes, size)
        solid = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        boxes, scores, labels = boxes[solid], scores[solid], labels[solid]
        kept = suppress(boxes, scores, labels, iou=self.nms_iou, size=size)[: self.max_detections]
        return Instances(boxes=boxes[kept], labels=labels[kept], scores=scores[kept])


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, *, iou: float, size: Size) -> Tensor:
    """Positions of the boxes that stay, best first: NMS within each group, in double precision.

    As torchvision's ``batched_nms``, one NMS over boxes that are moved apart by an offset for each
    group. In float32, as there, the offset takes digits from the boxes, so that the number of the
    class, the size of the image and what else was found decide on pairs near the threshold. Here
    the groups are numbered among those present, offsets are whole multiples of the longer side, and
    all is float64: sums below 2^24, as of 2000 classes at 8192 pixels, are exact wherever
    float32 coordinates are multiples of 2^-29, as all from 1/64 pixel on, and wrong by less than
    2^-29 pixels elsewhere. With exact sums every difference, area and overlap is that of the boxes
    themselves, in float64. Boxes of neighbouring groups touch at most, which is no overlap.

    On CUDA torchvision compares with the threshold in float32.

    Args:
        boxes: float (R, 4), xyxy pixels, within the image.
        scores: float (R,); of equal ones the first stays.
        groups: int64 (R,), the class or the level of each box.
        iou: Boxes with a better one of their group above this IoU go.
        size: (height, width) of the image.
    """
    present = groups.unique(return_inverse=True)[1]
    apart = boxes.double() + max(size) * present.double()[:, None]
    return nms(apart, scores.double(), iou)


def paste_mask(mask: np.ndarray, box: np.ndarray, *, size: Size, threshold: float) -> np.ndarray:
    """Resample one mask into its box and threshold it.

    Bilinear sampling at pixel centres, zero outside the mask, as ``grid_sample`` with
    ``align_corners=False`` in mmdet and Detectron2; on the grid of a box it is separable, so it
    is two small matrix products, and only the pixels of the box are touched.

    Args:
        mask: float (M, M) probabilities.
        box: float (4,), xyxy pixels.
        size: (height, width) of the image and of the result, uint8 {0, 1} in column order.
        threshold: Lowest probability of a pixel of the mask.
    """
    pasted = np.zeros(size, dtype=np.uint8, order="F")
    x0, y0, x1, y1 = box.tolist()
    if x1 <= x0 or y1 <= y0:
        return pasted
    # Bilinear sampling reaches half a mask pixel beyond the box, which a low threshold shows.
    reach_x, reach_y = (x1 - x0) / len(mask) / 2, (y1 - y0) / len(mask) / 2
    left, right = max(int(x0 - reach_x), 0), min(int(np.ceil(x1 + reach_x)), size[1])
    top, bottom = max(int(y0 - reach_y), 0), min(int(np.ceil(y1 + reach_y)), size[0])
    if right <= left or bottom <= top:
        return pasted
    rows = _bilinear_weights(np.arange(top, bottom), y0, y1, len(mask))
    columns = _bilinear_weights(np.arange(left, right), x0, x1, len(mask))
    pasted[top:bottom, left:right] = rows @ mask @ columns.T >= threshold
    return pasted


def _bilinear_weights(pixels: np.ndarray, start: float, end: float, resolution: int) -> np.ndarray:
    """Weights (pixels, M) of the mask's own pixels at each pixel centre of the image."""
    position = (pixels + 0.5 - start) / (end - start) * resolution - 0.5
    distance = np.abs(position[:, None] - np.arange(resolution)[None])
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)


def paste_masks(masks: Tensor, boxes: Tensor, *, size: Size, threshold: float) -> list[RLE]:
    """Paste masks (N, M, M) one by one and encode each at once: memory of a single bitmap."""
    from pycocotools import mask as mask_utils

    return [
        mask_utils.encode(paste_mask(mask, box, size=size, threshold=threshold))
        for mask, box in zip(masks.cpu().numpy(), boxes.cpu().numpy(), strict=True)
    ]


def resize_masks(masks: Tensor, size: Size) -> list[RLE]:
    """Resize whole-image bitmaps uint8 (N, H, W) one by one, area-weighted, and encode each."""
    rles: list[RLE] = []
    for mask in masks[:, None, None]:
        resized = F.interpolate(mask.float(), size, mode="bilinear", antialias=True)
        rles += encode_masks((resized[0] >= 0.5).to(torch.uint8))
    return rles


def in_original_pixels(instances: Instances, batch: Batch, index: int) -> Instances:
    """Instances of one image of a batch, without masks, from its pixels to the original's."""
    size, original = batch.sizes[index], batch.orig_sizes[index]
    return instances.moved(scale=(original[0] / size[0], original[1] / size[1]))


def to_predictions(
    batch: Batch,
    detections: Sequence[Instances],
    mask_probabilities: Sequence[Tensor] | None = None,
    *,
    mask_threshold: float | None = None,
) -> list[Prediction]:
    """Bring detections of a batch to original-image pixels and to the CPU, keypoints too.

    Args:
        batch: Images with sizes, original sizes and ids.
        detections: Boxes, scores, labels and perhaps keypoints of each image, in pixels of
            ``batch.sizes``; a box that is not finite is a ValueError with the image id. Masks of
            whole images are left out.
        mask_probabilities: float (N, M, M) inside the boxes of each image, or None for boxes only.
        mask_threshold: Lowest probability of a pixel of a pasted mask; None where there are none.
    """
    predictions = []
    for i, found in enumerate(detections):
        original = batch.orig_sizes[i]
        instances = in_original_pixels(replace(found, masks=None), batch, i).to("cpu")
        check_finite([instances.boxes], batch.image_ids[i : i + 1])
        if mask_probabilities is not None:
            assert mask_threshold is not None
            probabilities = mask_probabilities[i].float()
            boxes = instances.boxes
            masks = paste_masks(probabilities, boxes, size=original, threshold=mask_threshold)
            instances = replace(instances, masks=masks)
        predictions.append(Prediction(batch.image_ids[i], original, instances=instances))
    return predictions


def check_finite(outputs: Sequence[Tensor], image_ids: Sequence[int | str]) -> None:
    """ValueError where raw outputs are not finite: NaN scores would vanish in the thresholds."""
    if not torch.stack([output.isfinite().all() for output in outputs]).all():
        raise ValueError(
            f"the network gives non-finite outputs for the images {list(image_ids)}; "
            "the weights hold NaN or infinity, or the precision overflows (try fp32 or bf16)"
        )
