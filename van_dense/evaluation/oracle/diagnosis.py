"""Names what separates ground truth that went through the pipeline from ground truth itself.

Legend: N arrived and M annotated objects of one image; boxes are xyxy in original-image pixels.
Each hypothesis undoes one typical mistake; the first one that makes the objects fit explains them.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import RLE, Prediction, Size, decode_masks, encode_masks
from van_dense.data.readers.coco_json import CocoDict, Record
from van_dense.evaluation.ground_truth import annotation_rle

FITS = 0.9  # IoU of boxes that count as the same, and fraction of them that makes an explanation
NO_CLASS = -1


@dataclass(frozen=True)
class Objects:
    """Objects of one image without crowds."""

    boxes: Tensor  # float64 (N, 4) in (x1, y1, x2, y2) pixels of the original image
    categories: Tensor  # int64 (N,) category ids, ``NO_CLASS`` for labels outside the data set
    masks: list[RLE] | None  # N run-length encoded masks of the original image's size, or None
    size: Size  # (height, width) of the original image
    scale: float = 1.0  # side of the transformed image over the side of the original


Pair = tuple[Objects, Objects]  # arrived and annotated objects of one image
BoxFix = Callable[[Tensor, Tensor, Size], Tensor]  # arrived and annotated boxes, image size


def annotated_objects(ground_truth: CocoDict, *, masks: bool) -> dict[int | str, Objects]:
    """Group the annotations of each image, crowd regions left out."""
    grouped: dict[int | str, list[Record]] = {image["id"]: [] for image in ground_truth["images"]}
    for annotation in ground_truth["annotations"]:
        if not annotation.get("iscrowd", 0):
            grouped[annotation["image_id"]].append(annotation)
    objects = {}
    for image in ground_truth["images"]:
        entries, size = grouped[image["id"]], (image["height"], image["width"])
        xywh = torch.tensor([e["bbox"] for e in entries], dtype=torch.float64).reshape(-1, 4)
        objects[image["id"]] = Objects(
            boxes=_from_xywh(xywh),
            categories=torch.tensor([e["category_id"] for e in entries], dtype=torch.int64),
            masks=[annotation_rle(e, size) for e in entries] if masks else None,
            size=size,
        )
    return objects


def arrived_objects(prediction: Prediction, info: DatasetInfo, scale: float = 1.0) -> Objects:
    """Take the objects of a prediction, crowd regions left out; nothing is checked."""
    instances = prediction.instances
    if instances is None:
        return Objects(torch.zeros(0, 4).double(), torch.zeros(0).long(), None, prediction.size)
    if instances.crowd is not None:
        instances = instances[~instances.crowd]
    ids = dict(enumerate(info.category_ids))
    categories = [ids.get(label, NO_CLASS) for label in instances.labels.tolist()]
    masks = instances.masks
    return Objects(
        boxes=instances.boxes.double(),
        categories=torch.tensor(categories, dtype=torch.int64),
        masks=encode_masks(masks) if isinstance(masks, Tensor) else masks,
        size=prediction.size,
        scale=scale,
    )


def name_mistake(
    arrived: Mapping[int | str, Objects], annotated: Mapping[int | str, Objects], info: DatasetInfo
) -> str | None:
    """One sentence on what separates arrived from annotated objects, both by image id.

    None when they agree as far as the image resolution lets them. Annotated objects of more images
    than those that arrived help to find swapped ids.
    """
    unknown = [image_id for image_id in arrived if image_id not in annotated]
    if unknown:
        absent = f"images carry an id which the annotations lack, such as {unknown[0]!r}"
        ids = f"annotated ids are {list(annotated)[:3]}, ..."
        return f"wrong image ids: {len(unknown)} of {len(arrived)} {absent}; {ids}"
    pairs = [(objects, annotated[image_id]) for image_id, objects in arrived.items()]
    num_annotated = sum(len(truth.boxes) for _, truth in pairs)
    if num_annotated == 0:
        return "no objects at all: the annotations of these images are empty or crowd regions"
    if not any(len(found.boxes) for found, _ in pairs):
        return f"lost objects: none of {num_annotated} objects arrives"
    fitting = _fraction_fitting(pairs)
    if fitting >= FITS:
        return _explain_labels(pairs, info) or _explain_rest(pairs) or _explain_masks(pairs)
    return (
        _explain_image_ids(arrived, annotated)
        or _explain_boxes(pairs)
        or f"boxes disagree: {fitting:.0%} of them reach IoU {FITS} with an annotation of their "
        f"image; {_example(pairs)}"
    )


def _fitting(found: Objects, truth: Objects, fix: BoxFix | None = None) -> Tensor:
    """bool (N, M): which arrived box is which annotated box, after an optional correction."""
    boxes = found.boxes
    if fix is not None and len(boxes) and len(truth.boxes):
        boxes = fix(boxes, truth.boxes, found.size)
    return box_iou(boxes, truth.boxes) >= FITS


def _fraction_fitting(pairs: Sequence[Pair], fix: BoxFix | None = None) -> float:
    """Fraction of the arrived boxes that coincide with an annotated one of their image."""
    fits = [_fitting(found, truth, fix).any(dim=1) for found, truth in pairs]
    return float(torch.cat(fits).double().mean()) if any(len(f) for f in fits) else 1.0


def _from_xywh(boxes: Tensor, *_: object) -> Tensor:
    return box_convert(boxes, "xywh", "xyxy")


def _to_xywh(boxes: Tensor, *_: object) -> Tensor:
    return box_convert(boxes, "xyxy", "xywh")


def _reflect(boxes: Tensor, size: Size, axis: int) -> Tensor:
    """Mirror boxes in x (axis 0) or y (axis 1)."""
    mirrored = boxes.clone()
    mirrored[:, [axis, axis + 2]] = size[1 - axis] - boxes[:, [axis + 2, axis]]
    return mirrored


def _box_scale(boxes: Tensor, truth: Tensor) -> Tensor:
    """(2,) factors x and y of the arrived coordinates; the far corner of all boxes shows them."""
    return boxes[:, 2:].amax(dim=0) / truth[:, 2:].amax(dim=0).clamp(min=1e-6)


def _undo_scale(boxes: Tensor, truth: Tensor, _: Size) -> Tensor:
    return boxes / _box_scale(boxes, truth).clamp(min=1e-6).repeat(2)


def _box_offset(boxes: Tensor, truth: Tensor) -> Tensor:
    """(2,) shift x and y; sorting pairs equal boxes, since a shift keeps their order."""
    if len(boxes) != len(truth):
        return boxes.new_zeros(2)
    difference = boxes.sort(dim=0).values - truth.sort(dim=0).values
    return difference.reshape(-1, 2).median(dim=0).values


def _undo_offset(boxes: Tensor, truth: Tensor, _: Size) -> Tensor:
    return boxes - _box_offset(boxes, truth).repeat(2)


# Hypotheses without free parameters come first: a fitted scale or shift explains more by accident.
BOX_FIXES: dict[str, BoxFix] = {
    "boxes have x and y swapped": lambda boxes, *_: boxes[:, [1, 0, 3, 2]],
    "boxes hold x, y, width, height where x1, y1, x2, y2 is expected": _from_xywh,
    "boxes hold x1, y1, x2, y2 where x, y, width, height is expected": _to_xywh,
    "boxes are mirrored left to right": lambda boxes, _, size: _reflect(boxes, size, 0),
    "boxes are upside down": lambda boxes, _, size: _reflect(boxes, size, 1),
    "boxes are scaled": _undo_scale,
    "boxes are shifted": _undo_offset,
}


def _explain_boxes(pairs: Sequence[Pair]) -> str | None:
    """The first correction that makes the boxes fit, with the numbers of those that have some."""
    fixes = (item for item in BOX_FIXES.items() if _fraction_fitting(pairs, item[1]) >= FITS)
    text, fix = next(fixes, (None, None))
    if fix not in (_undo_scale, _undo_offset):
        return text
    estimate = _box_scale if fix is _undo_scale else _box_offset
    both = [(found, truth) for found, truth in pairs if len(found.boxes) and len(truth.boxes)]
    values = torch.stack([estimate(found.boxes, truth.boxes) for found, truth in both])
    x, y = values.median(dim=0).values.tolist()
    if fix is _undo_offset:
        return f"{text} by ({x:+.1f}, {y:+.1f}) px (x, y; median of the images)"
    scale = float(np.median([found.scale for found, _ in both]))
    is_transform = abs(scale - 1) > 0.02 and max(abs(x / scale - 1), abs(y / scale - 1)) < 0.02
    hint = "; that is the factor of the transform, which was not undone" if is_transform else ""
    return f"{text} by ({x:.3g}, {y:.3g}) (x, y; median of the images){hint}"


def _explain_image_ids(
    arrived: Mapping[int | str, Objects], annotated: Mapping[int | str, Objects]
) -> str | None:
    """Images that do not fit their own annotation but that of another image."""
    strangers = {
        image_id: found
        for image_id, found in arrived.items()
        if _fraction_fitting([(found, annotated[image_id])]) < FITS
    }

    def fits(found: Objects, truth: Objects) -> bool:
        same_number = len(truth.boxes) == len(found.boxes)
        return same_number and _fraction_fitting([(found, truth)]) >= FITS

    pairs = (
        (image_id, next((other for other, truth in annotated.items() if fits(found, truth)), None))
        for image_id, found in strangers.items()
    )
    true_ids = {image_id: other for image_id, other in pairs if other is not None}
    if len(true_ids) < FITS * len(strangers):
        return None
    part = f"{len(true_ids)} of {len(arrived)} images carry the id of another one"
    image_id, other = next(iter(true_ids.items()))
    example = f"the objects under id {image_id!r} are those annotated for id {other!r}"
    return f"wrong image ids: {part}; {example}"


def _explain_labels(pairs: Sequence[Pair], info: DatasetInfo) -> str | None:
    """Boxes that are right, but never with their own class."""
    num_objects, wrong = 0, Counter[tuple[int, int]]()
    for found, truth in pairs:
        fits = _fitting(found, truth)
        is_right = (fits & (found.categories[:, None] == truth.categories)).any(dim=1)
        num_objects += int(fits.any(dim=1).sum())
        for i in (fits.any(dim=1) & ~is_right).nonzero()[:, 0].tolist():
            annotated = truth.categories[fits[i].nonzero()[0, 0]]
            wrong[int(annotated), int(found.categories[i])] += 1
    if not wrong:
        return None
    name_of = dict(zip(info.category_ids, info.class_names, strict=True))

    def show(category_id: int) -> str:
        name = f"{name_of.get(category_id, '?')!r} (id {category_id})"
        return "a label outside the classes" if category_id == NO_CLASS else name

    examples = "; ".join(f"{show(a)} arrives as {show(b)}" for (a, b), _ in wrong.most_common(3))
    part = f"boxes fit, but {sum(wrong.values())} of {num_objects} objects have another class"
    fix = "compare DatasetInfo.category_ids with the categories of the annotation file"
    return f"wrong labels: {part}: {examples}; {fix}"


def _explain_rest(pairs: Sequence[Pair]) -> str | None:
    """Single objects that do not arrive, or arrive without an annotation."""
    lost = [truth.boxes[~_fitting(found, truth).any(dim=0)] for found, truth in pairs]
    extra = [found.boxes[~_fitting(found, truth).any(dim=1)] for found, truth in pairs]
    num_lost, num_extra = sum(map(len, lost)), sum(map(len, extra))
    if num_lost > num_extra:
        sides = torch.cat([boxes[:, 2:] - boxes[:, :2] for boxes in lost])
        part = f"{num_lost} of {sum(len(truth.boxes) for _, truth in pairs)} do not arrive"
        return f"lost objects: {part}; their sides are {sides.min():.1f} to {sides.max():.1f} px"
    if num_extra:
        return (
            f"{counted(num_extra, 'box fits', 'boxes fit')} no annotation of their image; "
            f"{_example(pairs)}"
        )
    return None


def _example(pairs: Sequence[Pair]) -> str:
    """Name the first arrived box that fits nothing, and the annotated box nearest to it."""
    for found, truth in pairs:
        for i in (~_fitting(found, truth).any(dim=1)).nonzero()[:, 0].tolist():
            box = found.boxes[i]
            arrived = f"for example {[round(v, 1) for v in box.tolist()]} arrives"
            if not len(truth.boxes):
                return f"{arrived} in an image without objects"
            nearest = truth.boxes[(truth.boxes - box).abs().sum(dim=1).argmin()]
            return f"{arrived}, the nearest annotation is {[round(v, 1) for v in nearest.tolist()]}"
    return "all boxes fit"


MaskFix = Callable[[np.ndarray, np.ndarray], np.ndarray]  # arrived and annotated (N, H, W)
MatchedMasks = tuple[np.ndarray, np.ndarray, float]  # the same, uint8, and ``Objects.scale``


def _undo_mask_offset(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    dx, dy = _mask_offset(masks, truth)
    return np.roll(masks, (-dy, -dx), axis=(1, 2))


def _mask_offset(masks: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Shift (x, y) of the arrived masks in whole pixels, from their centres."""
    offsets = [
        [np.mean(b) - np.mean(a) for a, b in zip(np.nonzero(t), np.nonzero(m), strict=True)]
        for m, t in zip(masks, truth, strict=True)
        if m.any() and t.any()
    ]
    dy, dx = np.median(offsets, axis=0) if offsets else (0, 0)
    return round(float(dx)), round(float(dy))


def _best_masks(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """For each annotated mask the arrived mask that fits it best."""
    best = [int(np.argmax(_mask_ious(found, np.broadcast_to(mask, found.shape)))) for mask in truth]
    return found[best]


MASK_FIXES: dict[str, MaskFix] = {
    "masks are mirrored left to right": lambda masks, _: masks[:, :, ::-1],
    "masks are upside down": lambda masks, _: masks[:, ::-1],
    "masks are inverted": lambda masks, _: 1 - masks,
    "masks are shifted": _undo_mask_offset,
    "masks belong to other objects of their image, in another order": _best_masks,
}


def _explain_masks(pairs: Sequence[Pair]) -> str | None:
    """Masks that differ by more than the outline which a resize may cost."""
    both = [pair for pair in pairs if pair[0].masks and pair[1].masks]
    matched = [masks for pair in both if len((masks := _matched_masks(*pair))[0])]
    if not matched or _masks_fit(matched):
        return None
    for text, fix in MASK_FIXES.items():
        if _masks_fit([(fix(found, truth), truth, scale) for found, truth, scale in matched]):
            if fix is _undo_mask_offset:
                dx, dy = np.median([_mask_offset(found, truth) for found, truth, _ in matched], 0)
                text += f" by ({dx:+.0f}, {dy:+.0f}) px (x, y; median of the images)"
            return f"{text}; boxes fit"
    ious = np.concatenate([_mask_ious(found, truth) for found, truth, _ in matched])
    return f"masks disagree: their median IoU with the annotation is {np.median(ious):.2f}"


def _matched_masks(found: Objects, truth: Objects) -> MatchedMasks:
    """Decode arrived masks and those annotated for the same boxes."""
    assert found.masks is not None and truth.masks is not None
    fits = _fitting(found, truth)
    rows = fits.any(dim=1).nonzero()[:, 0].tolist()
    columns = [int(fits[row].nonzero()[0, 0]) for row in rows]
    arrived = decode_masks([found.masks[row] for row in rows], found.size)
    annotated = decode_masks([truth.masks[column] for column in columns], truth.size)
    return arrived, annotated, found.scale


def _mask_ious(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) IoU of corresponding masks."""
    intersection = (found & truth).sum(axis=(1, 2))
    return intersection / np.maximum((found | truth).sum(axis=(1, 2)), 1)


def _masks_fit(matched: Sequence[MatchedMasks]) -> bool:
    """Whether the typical mask loses no more than its outline."""
    # A shape of thickness t (area over the long side) that moves its outline by 1 px of the smaller
    # image keeps an IoU of about 1 - 4 / t, as a square of side t does.
    margins = []
    for found, truth, scale in matched:
        for mask, iou in zip(truth, _mask_ious(found, truth), strict=True):
            if mask.any():
                long_side = max(np.ptp(axis) + 1 for axis in np.nonzero(mask))
                thickness = mask.sum() / long_side * min(scale, 1.0)
                margins.append(iou - (1 - 4 / thickness))
    return not margins or bool(np.median(margins) >= 0)
