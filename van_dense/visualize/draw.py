"""One function that draws what a Prediction holds, of results and of ground truth.

Small images are enlarged first, since a label on 128 pixels cannot be read.
Legend: the canvas is the enlarged picture; canvas pixels = ``scale`` x image pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import IGNORE_LABEL, Prediction, Size
from van_dense.visualize.classes import score_bars
from van_dense.visualize.instances import draw_instances
from van_dense.visualize.keypoints import side_entries
from van_dense.visualize.labels import font_size
from van_dense.visualize.legend import class_entries, legend, saliency_scale, stack
from van_dense.visualize.maps import class_counts, draw_classes, draw_saliency
from van_dense.visualize.palette import PAPER
from van_dense.visualize.panoptic import draw_panoptic, stuff_shares

MIN_SIDE = 640  # canvas pixels of the short side, for readable labels
MAX_ENLARGED = 1920  # canvas pixels of the long side beyond which nothing is enlarged
_ROOM = (80, 400)  # canvas (height, width) that letters need; less gets a margin of paper


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

    Label maps tint the photo by class, panoptic maps stuff by class and each thing by a colour of
    its own, saliency lets it glow. Instances get a box, a filled outline where they have masks, a
    skeleton where they have keypoints, and a label with the score; crowd regions are grey, hatched
    and dashed. Small objects lie on top of large ones. Class scores become bars below.

    Args:
        image: uint8 (H, W, 3) RGB; it is not changed.
        prediction: In the pixels of ``image``. Instances without scores are labelled by name.
        info: Class names and colours of the labels.
        min_score: Instances below are left out; panoptic segments are all drawn.
        instance_colors: Colour by instance instead of by class.
        scale: Canvas pixels for one image pixel; None enlarges small images only, and leaves room
            for letters beside narrow ones.

    Returns:
        uint8 RGB picture of (H, W) times the scale, at its top left; legends and bars make it
        higher, and where letters need room, a margin makes it wider and higher.

    Raises:
        ValueError: When image, prediction and info do not belong together, or when there is
            nothing in the prediction that could be drawn.
    """
    prediction = _above(prediction, min_score)
    canvas = _with_maps(image, prediction, info, scale=scale)
    if scale is None:
        canvas = _with_room(canvas, has_labels=prediction.instances is not None)
    _add_instances(canvas, prediction, info, by_instance=instance_colors, scale=scale)
    below = [
        *_bars(prediction, info, canvas.shape[:2]),
        *legends([prediction], info, canvas.shape[:2]),
    ]
    return stack([canvas, *below])


def _bars(prediction: Prediction, info: DatasetInfo, canvas: Size) -> list[np.ndarray]:
    """Class scores that belong below a canvas."""
    if prediction.class_scores is None:
        return []
    letters = font_size(canvas, 1)
    scores = prediction.class_scores.numpy()
    return [score_bars(scores, info, width=canvas[1], letter_size=letters, indent=letters // 2)]


def legends(
    predictions: Sequence[Prediction],
    info: DatasetInfo,
    canvas: Size,
    *,
    letter_size: int | None = None,
    indent: int | None = None,
) -> list[np.ndarray]:
    """Explain the colours of pictures: classes with their mean share, saliency, sides of bodies.

    Args:
        predictions: What the pictures show.
        info: Names of classes and keypoints.
        canvas: (height, width) of the picture that the legends belong below.
        letter_size: In pixels; None chooses it by the canvas.
        indent: Pixels free at the left; None is half a letter.

    Returns:
        uint8 RGB strips, as wide as the canvas or wider; none where no colour needs a word.
    """
    letters = letter_size or font_size(canvas, 1)
    width, left = canvas[1], letters // 2 if indent is None else indent
    parts = []
    if shares := [s for p in predictions if (s := _shares(p, info)) is not None]:
        mean = np.mean(shares, axis=0)
        void = "ignored" if any(p.semantic is not None for p in predictions) else "no segment"
        if entries := class_entries(info, mean, mean, ignored=void):
            many = letter_size or font_size(canvas, len(entries))
            parts.append(
                legend(entries, width, many, indent=many // 2 if indent is None else indent)
            )
    if any(prediction.saliency is not None for prediction in predictions):
        parts.append(saliency_scale(width, letters, indent=left))
    if sides := side_entries(info, [prediction.instances for prediction in predictions]):
        parts.append(legend(sides, width, letters, indent=left))
    return parts


def _shares(prediction: Prediction, info: DatasetInfo) -> np.ndarray | None:
    """Share of the picture of each class that is known by its colour, float64 (256,), if any."""
    if prediction.panoptic is not None:
        return stuff_shares(prediction, info)
    if prediction.semantic is not None:
        return class_counts(prediction.semantic) / prediction.semantic.size
    return None


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
    canvas = _with_maps(image, prediction, info, scale=scale)
    found = _above(prediction, min_score)
    _add_instances(canvas, found, info, by_instance=instance_colors, scale=scale)
    return canvas


def _with_maps(
    image: np.ndarray, prediction: Prediction, info: DatasetInfo, *, scale: float | None
) -> np.ndarray:
    """The enlarged photo with everything that is known of each of its pixels."""
    _check(image, prediction, info)
    canvas = resize(image, default_scale(prediction.size) if scale is None else scale)
    if prediction.saliency is not None:
        draw_saliency(canvas, prediction.saliency)
    if prediction.panoptic is not None:
        draw_panoptic(canvas, prediction, info)
    elif prediction.semantic is not None:
        draw_classes(canvas, prediction.semantic, info)
    return canvas


def _with_room(canvas: np.ndarray, *, has_labels: bool) -> np.ndarray:
    """The canvas with a margin at the right where letters would not fit, and below for labels."""
    below = max(0, _ROOM[0] - canvas.shape[0]) if has_labels else 0
    right = max(0, _ROOM[1] - canvas.shape[1])
    if not below and not right:
        return canvas
    return cv2.copyMakeBorder(canvas, 0, below, 0, right, cv2.BORDER_CONSTANT, value=PAPER)


def _add_instances(
    canvas: np.ndarray,
    prediction: Prediction,
    info: DatasetInfo,
    *,
    by_instance: bool,
    scale: float | None,
) -> None:
    """Draw the instances, if there are any, over a canvas that begins with the photo, in place."""
    if prediction.instances is not None:
        scale = default_scale(prediction.size) if scale is None else scale
        draw_instances(canvas, prediction.instances, info, by_instance=by_instance, scale=scale)


def _above(prediction: Prediction, min_score: float) -> Prediction:
    """The prediction without the instances below a score; ground truth has none to leave out."""
    instances = prediction.instances
    if instances is None or instances.scores is None:
        return prediction
    return replace(prediction, instances=instances[instances.scores >= min_score])


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
    panoptic, scores = prediction.panoptic, prediction.class_scores
    if all(value is None for value in (instances, semantic, panoptic, saliency, scores)):
        raise ValueError(
            f"the prediction of image {prediction.image_id!r} has no instances, no label map, no "
            "panoptic map, no saliency and no class scores, and nothing else can be drawn"
        )
    if scores is not None and scores.shape != (info.num_classes,):
        raise ValueError(
            f"image {prediction.image_id!r}: scores of shape {tuple(scores.shape)} for the "
            f"{info.num_classes} classes of {info.name!r}; pass the model's own DatasetInfo"
        )
    maps = (("label map", semantic), ("panoptic map", panoptic), ("saliency", saliency))
    for name, values in maps:
        if values is not None and values.shape != image.shape[:2]:
            raise ValueError(
                f"image {prediction.image_id!r} is {image.shape[:2]} (height, width), but its "
                f"{name} {values.shape}; predictions are in the pixels of the original image"
            )
    if semantic is not None:
        labels = np.flatnonzero(class_counts(semantic)[:IGNORE_LABEL])
        _check_label(int(labels.max(initial=0)), prediction, info)
    if prediction.segments:
        _check_label(max(segment["label"] for segment in prediction.segments), prediction, info)
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
