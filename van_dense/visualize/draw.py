"""One function that draws what a Prediction holds, of results and of ground truth.

Small images are enlarged first, since a label on 128 pixels cannot be read. Masks stay
run-length encoded until their turn and are decoded and blended inside their own rectangle only:
a dense (N, H, W) stack of 100 masks on a 4K image would be 0.8 GB.
Legend: the canvas is the enlarged picture; canvas pixels = ``scale`` x image pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from van_dense.dataset_info import Color, DatasetInfo
from van_dense.structures import IGNORE_LABEL, RLE, Instances, Prediction, Size, encode_masks
from van_dense.visualize.classes import score_bars
from van_dense.visualize.keypoints import draw_keypoints, side_entries
from van_dense.visualize.labels import Label, draw_labels, font_size
from van_dense.visualize.legend import class_entries, legend, saliency_scale, stack
from van_dense.visualize.maps import class_counts, draw_classes, draw_saliency
from van_dense.visualize.palette import CROWD, class_colors, distinct_colors
from van_dense.visualize.strokes import line_thickness, stripe_width, stripes

MIN_SIDE = 640  # canvas pixels of the short side, for readable labels
MAX_ENLARGED = 1920  # canvas pixels of the long side beyond which nothing is enlarged
_OPACITY = 0.45  # of mask fills
_UNCROWDED = 30  # objects; from here on lines are thin


def draw(
    image: np.ndarray,
    prediction: Prediction,
    info: DatasetInfo,
    *,
    min_score: float = 0.0,
    instance_colors: bool = False,
    scale: float | None = None,
) -> np.ndarray:
    """Draw everything a prediction holds over its image, with a legend below where it needs one.

    Label maps tint the photo by class, saliency lets it glow. Instances get a box, a filled
    outline where they have masks, a skeleton where they have keypoints, and a label with the
    score; crowd regions are grey, hatched and dashed. Small objects lie on top of large ones.
    Class scores become bars below.

    Args:
        image: uint8 (H, W, 3) RGB; it is not changed.
        prediction: In the pixels of ``image``. Instances without scores are labelled by name.
        info: Class names and colours of the labels.
        min_score: Instances below are left out.
        instance_colors: Colour by instance instead of by class.
        scale: Canvas pixels for one image pixel; None enlarges small images only.

    Returns:
        uint8 RGB picture of (H, W) times the scale; legends and bars make it higher.

    Raises:
        ValueError: When image, prediction and info do not belong together, or when there is
            nothing in the prediction that could be drawn.
    """
    canvas = draw_panel(
        image,
        prediction,
        info,
        min_score=min_score,
        instance_colors=instance_colors,
        scale=scale,
    )
    return stack([canvas, *_explanations(prediction, info, canvas.shape[:2])])


def _explanations(prediction: Prediction, info: DatasetInfo, canvas: Size) -> list[np.ndarray]:
    """Legends and bars that belong below a canvas."""
    width, letters = canvas[1], font_size(canvas, 1)
    indent = letters // 2
    parts = []
    if prediction.semantic is not None:
        shares = class_counts(prediction.semantic) / prediction.semantic.size
        entries = class_entries(info, shares, shares)
        many = font_size(canvas, len(entries))
        parts.append(legend(entries, width, many, indent=many // 2))
    if prediction.saliency is not None:
        parts.append(saliency_scale(width, letters, indent=indent))
    if prediction.class_scores is not None:
        scores = prediction.class_scores.numpy()
        parts.append(score_bars(scores, info, width=width, letter_size=letters, indent=indent))
    if sides := side_entries(info, [prediction.instances]):
        parts.append(legend(sides, width, letters, indent=indent))
    return parts


def draw_panel(
    image: np.ndarray,
    prediction: Prediction,
    info: DatasetInfo,
    *,
    min_score: float = 0.0,
    instance_colors: bool = False,
    scale: float | None = None,
) -> np.ndarray:
    """Like ``draw`` but without the legend, so that the picture has exactly the photo's shape."""
    _check(image, prediction, info)
    scale = default_scale(prediction.size) if scale is None else scale
    canvas = resize(image, scale)
    if prediction.saliency is not None:
        draw_saliency(canvas, prediction.saliency)
    if prediction.semantic is not None:
        draw_classes(canvas, prediction.semantic, info)
    instances = prediction.instances
    if instances is not None:
        if instances.scores is not None:
            instances = instances[instances.scores >= min_score]
        colors = _instance_colors(instances, info, instance_colors)
        _draw_instances(canvas, instances, info, colors, scale)
    return canvas


def default_scale(size: Size) -> float:
    """Enlargement that makes labels readable on an image of (height, width); at least 1."""
    return max(1.0, min(MIN_SIDE / min(size), MAX_ENLARGED / max(size)))


def _check(image: np.ndarray, prediction: Prediction, info: DatasetInfo) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 (H, W, 3) RGB, got {image.dtype} {image.shape}")
    if image.shape[:2] != tuple(prediction.size):
        raise ValueError(
            f"image {prediction.image_id!r} is {image.shape[:2]} (height, width), but its "
            f"prediction is for {tuple(prediction.size)}; draw on the original image"
        )
    instances, semantic, saliency = prediction.instances, prediction.semantic, prediction.saliency
    scores = prediction.class_scores
    if all(value is None for value in (instances, semantic, saliency, scores)):
        raise ValueError(
            f"the prediction of image {prediction.image_id!r} has no instances, no label map, no "
            "saliency and no class scores, and nothing else can be drawn"
        )
    if scores is not None and scores.shape != (info.num_classes,):
        raise ValueError(
            f"image {prediction.image_id!r}: scores of shape {tuple(scores.shape)} for the "
            f"{info.num_classes} classes of {info.name!r}; pass the model's own DatasetInfo"
        )
    for name, values in (("label map", semantic), ("saliency", saliency)):
        if values is not None and values.shape != image.shape[:2]:
            raise ValueError(
                f"image {prediction.image_id!r} is {image.shape[:2]} (height, width), but its "
                f"{name} {values.shape}; predictions are in the pixels of the original image"
            )
    if semantic is not None:
        labels = np.flatnonzero(class_counts(semantic)[:IGNORE_LABEL])
        _check_label(int(labels.max(initial=0)), prediction, info)
    if instances is not None and len(instances):
        _check_label(int(instances.labels.max()), prediction, info)
    if instances is not None and instances.keypoints is not None:
        num = instances.keypoints.shape[1]
        if num != len(info.keypoint_names):
            raise ValueError(
                f"image {prediction.image_id!r}: {num} keypoints for the "
                f"{len(info.keypoint_names)} of {info.name!r}; pass the model's own DatasetInfo"
            )


def _check_label(label: int, prediction: Prediction, info: DatasetInfo) -> None:
    if label >= info.num_classes:
        raise ValueError(
            f"image {prediction.image_id!r}: label {label} is none of the {info.num_classes} "
            f"classes of {info.name!r}; pass the model's own DatasetInfo"
        )


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Copy of a uint8 (H, W, 3) image with both sides times the scale."""
    if scale == 1:
        return image.copy()
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def _instance_colors(instances: Instances, info: DatasetInfo, by_instance: bool) -> list[Color]:
    """Colour of each instance; crowd regions are grey."""
    if by_instance:
        colors = list(distinct_colors(len(instances)))
    else:
        of_class = class_colors(info)
        colors = [of_class[label] for label in instances.labels.tolist()]
    return [
        CROWD if crowd else color for color, crowd in zip(colors, _crowd(instances), strict=True)
    ]


def _crowd(instances: Instances) -> list[bool]:
    return [False] * len(instances) if instances.crowd is None else instances.crowd.tolist()


def _draw_instances(
    canvas: np.ndarray,
    instances: Instances,
    info: DatasetInfo,
    colors: Sequence[Color],
    scale: float,
) -> None:
    boxes = instances.boxes * scale
    crowd = _crowd(instances)
    sides = boxes[:, 2:] - boxes[:, :2]
    order = torch.argsort(sides.prod(dim=1), descending=True, stable=True).tolist()
    thin = len(instances) > _UNCROWDED or instances.keypoints is not None
    thickness = line_thickness(canvas.shape[:2], thin=thin)

    if instances.masks is not None:
        masks = instances.masks
        rles = encode_masks(masks) if isinstance(masks, Tensor) else masks
        photo = canvas.copy()
        for i in order:
            region = _canvas_region(rles[i], scale, canvas.shape[:2])
            _draw_mask(canvas, photo, region, colors[i], hatched=crowd[i])
    for i in order:
        _draw_box(canvas, boxes[i].round().int().tolist(), colors[i], thickness, dashed=crowd[i])
    if instances.keypoints is not None:
        draw_keypoints(canvas, instances, info, scale=scale)

    # The surest result, or the smallest object of the ground truth, chooses its place first.
    if instances.scores is not None:
        order = torch.argsort(instances.scores, descending=True, stable=True).tolist()
    else:
        order.reverse()
    draw_labels(
        canvas,
        [
            Label(_text(instances, i, info.class_names), tuple(boxes[i].tolist()), colors[i])
            for i in order
        ],
    )


def _text(instances: Instances, index: int, names: Sequence[str]) -> str:
    name = names[int(instances.labels[index])]
    if instances.crowd is not None and instances.crowd[index]:
        return f"{name} (crowd)"
    return name if instances.scores is None else f"{name} {float(instances.scores[index]):.0%}"


def _canvas_region(rle: RLE, scale: float, canvas: Size) -> tuple[int, int, np.ndarray]:
    """Left, top and mask, uint8 {0, 1}, of the rectangle that an RLE fills on the canvas."""
    x, y, mask = decode_crop(rle)
    if scale == 1 or mask.size == 0:
        return x, y, mask
    left, top = min(round(x * scale), canvas[1] - 1), min(round(y * scale), canvas[0] - 1)
    right = max(left + 1, min(round((x + mask.shape[1]) * scale), canvas[1]))
    bottom = max(top + 1, min(round((y + mask.shape[0]) * scale), canvas[0]))
    # Cut at one half, interpolation gives round edges where nearest neighbours give stairs.
    soft = cv2.resize(mask * 255, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return left, top, (soft > 127).astype(np.uint8)


def _draw_mask(
    canvas: np.ndarray,
    photo: np.ndarray,
    region: tuple[int, int, np.ndarray],
    color: Color,
    *,
    hatched: bool,
) -> None:
    """Fill and outline one mask.

    The fill is blended with the untouched photo, so that the last one drawn keeps its own colour
    where masks overlap instead of a mixture.
    """
    left, top, mask = region
    if mask.size == 0:
        return
    height, width = mask.shape
    area = (slice(top, top + height), slice(left, left + width))
    tint = np.full_like(photo[area], color)
    blended = cv2.addWeighted(photo[area], 1 - _OPACITY, tint, _OPACITY, 0)
    fill = mask * stripes(mask.shape, stripe_width(canvas.shape[:2])) if hatched else mask
    cv2.copyTo(blended, fill, canvas[area])
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    thickness = line_thickness(canvas.shape[:2], thin=True)
    cv2.drawContours(canvas, contours, -1, color, thickness, cv2.LINE_AA, offset=(left, top))


def _draw_box(
    canvas: np.ndarray, box: Sequence[int], color: Color, thickness: int, *, dashed: bool
) -> None:
    # The whole line stays inside the picture.
    inset = thickness // 2
    last = (canvas.shape[1] - 1 - inset, canvas.shape[0] - 1 - inset) * 2
    x0, y0, x1, y1 = (max(inset, min(value, end)) for value, end in zip(box, last, strict=True))
    if not dashed:
        cv2.rectangle(canvas, (x0, y0), (x1, y1), color, thickness)
        return
    dash = 5 * thickness
    for x in range(x0, x1, 2 * dash):
        for y in (y0, y1):
            cv2.line(canvas, (x, y), (min(x + dash, x1), y), color, thickness)
    for y in range(y0, y1, 2 * dash):
        for x in (x0, x1):
            cv2.line(canvas, (x, y), (x, min(y + dash, y1)), color, thickness)


def decode_crop(rle: RLE) -> tuple[int, int, np.ndarray]:
    """Decode a compressed RLE inside the smallest rectangle that holds its pixels.

    The cost follows the object instead of the image: 100 masks of a 4K image take 0.35 s with
    pycocotools, which always decodes the whole image.

    Returns:
        x and y of the rectangle in the image, and the mask in it, uint8 {0, 1} (h, w);
        an empty array for an empty mask.
    """
    height = rle["size"][0]
    edges = np.cumsum(_run_lengths(rle["counts"]))
    starts, ends = edges[:-1:2], edges[1::2]  # runs of ones start where runs of zeros end
    starts, ends = starts[ends > starts], ends[ends > starts]
    if len(starts) == 0:
        return 0, 0, np.zeros((0, 0), dtype=np.uint8)
    x0, x1 = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    columns = np.zeros((x1 - x0) * height, dtype=np.uint8)
    for start, end in zip(starts - x0 * height, ends - x0 * height, strict=True):
        columns[start:end] = 1
    mask = columns.reshape(x1 - x0, height).T
    rows = np.flatnonzero(mask.any(axis=1))
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    return x0, y0, np.ascontiguousarray(mask[y0:y1])


def _run_lengths(counts: bytes) -> np.ndarray:
    """Unpack the run lengths of a COCO RLE, zeros first, int64.

    Format (rleFrString in cocoapi/common/maskApi.c): each number is written in groups of 5 bits,
    low bits first, one printable character 48 + group a time; bit 32 marks that more follow, bit
    16 of the last group is the sign. From the fourth number on, differences to the number two
    before are stored.
    """
    groups = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    last = (groups & 32) == 0
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(np.append(first, len(groups)))
    position = np.arange(len(groups)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((groups & 31) << (5 * position), first)
    negative = (groups[last] & 16) != 0
    numbers[negative] -= np.int64(1) << (5 * lengths[negative])
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
