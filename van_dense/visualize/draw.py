"""One function that draws what a Prediction holds, of results and of ground truth.

Small images are enlarged first, since a label on 128 pixels cannot be read.
Legend: the canvas is the enlarged picture; canvas pixels = ``scale`` x image pixels.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import IGNORE_LABEL, Prediction, Size
from van_dense.visualize.classes import score_bars
from van_dense.visualize.instances import draw_instances
from van_dense.visualize.keypoints import side_entries
from van_dense.visualize.labels import font_size
from van_dense.visualize.legend import Entry, class_entries, legend, saliency_scale, stack
from van_dense.visualize.maps import class_counts, draw_classes, draw_saliency
from van_dense.visualize.palette import PAPER
from van_dense.visualize.panoptic import draw_panoptic, stuff_fractions

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
    """Draw everything a prediction holds over its image: an RGB picture, with a legend if needed.

    Label maps tint the photo by class, panoptic maps stuff by class and each thing by a colour of
    its own, saliency lets it glow. Instances get a box, a filled outline where they have masks, a
    skeleton where they have keypoints, and a label with the score; crowd regions are grey, hatched
    and dashed. Small objects lie on top of large ones. A panoptic map shows its things itself, so
    instances and label map beside it are not drawn. Class scores become bars below.

    Args:
        image: RGB photo, uint8 (H, W, 3); it is not changed.
        prediction: Results in the pixels of ``image``; unscored instances are labelled by name.
        info: Class names and colours of the labels.
        min_score: Lowest score in 0..1 of drawn instances; panoptic segments are all drawn.
        instance_colors: Whether colours tell instances apart instead of classes.
        scale: Canvas pixels for one image pixel; None enlarges small images only, and leaves room
            for letters beside narrow ones, by a margin at the right and below.

    Raises:
        ValueError: When the arguments do not belong together, or there is nothing to draw.
    """
    prediction = _shown(prediction, min_score)
    canvas = _with_maps(image, prediction, info, scale=scale)
    if scale is None:
        canvas = _with_room(canvas, has_labels=prediction.instances is not None)
    _add_instances(canvas, prediction, info, by_instance=instance_colors, scale=scale)
    size, below = canvas.shape[:2], []
    if prediction.class_scores is not None:
        letters, scores = font_size(size, 1), prediction.class_scores.numpy()
        bars = score_bars(scores, info, width=size[1], letter_size=letters, indent=letters // 2)
        below.append(bars)
    return stack([canvas, *below, *legends([prediction], info, size)])


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
    prediction = _shown(prediction, min_score)
    canvas = _with_maps(image, prediction, info, scale=scale)
    _add_instances(canvas, prediction, info, by_instance=instance_colors, scale=scale)
    return canvas


def legends(
    predictions: Sequence[Prediction],
    info: DatasetInfo,
    canvas: Size,
    *,
    letter_size: int | None = None,
    indent: int | None = None,
    values: np.ndarray | None = None,
    around: tuple[Sequence[Entry], Sequence[Entry]] = ((), ()),
) -> list[np.ndarray]:
    """RGB strips that explain colours: classes with their mean area, saliency, sides of bodies.

    Args:
        predictions: Everything that the pictures show.
        info: Names of classes and keypoints.
        canvas: (height, width) of the picture that the legends belong below.
        letter_size: Letter height in pixels; None chooses it by the canvas.
        indent: Free pixels at the left; None is half a letter.
        values: Numbers printed behind the 256 labels, (256,) in 0..1; None prints the mean area.
        around: Entries before and after those of the classes.
    """
    letters = letter_size or font_size(canvas, 1)
    width, left = canvas[1], letters // 2 if indent is None else indent
    parts = []
    areas = [a for prediction in predictions if (a := _class_areas(prediction, info)) is not None]
    if areas:
        mean = np.mean(areas, axis=0)
        void = "ignored" if all(p.panoptic is None for p in predictions) else "no segment"
        entries = class_entries(info, mean, mean if values is None else values, ignored=void)
        if entries := [*around[0], *entries, *around[1]]:
            many = letter_size or font_size(canvas, len(entries))
            room = many // 2 if indent is None else indent
            parts.append(legend(entries, width, many, indent=room))
    if any(prediction.saliency is not None for prediction in predictions):
        parts.append(saliency_scale(width, letters, indent=left))
    if sides := side_entries(info, [prediction.instances for prediction in predictions]):
        parts.append(legend(sides, width, letters, indent=left))
    return parts


def _class_areas(prediction: Prediction, info: DatasetInfo) -> np.ndarray | None:
    """Fraction of the picture in the colour of each label, float64 (256,); None without a map."""
    if prediction.panoptic is not None:
        return stuff_fractions(prediction, info)
    if prediction.semantic is not None:
        return class_counts(prediction.semantic) / prediction.semantic.size
    return None


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


def _shown(prediction: Prediction, min_score: float) -> Prediction:
    """The prediction without the instances below a score, or beside a panoptic map without any."""
    if prediction.panoptic is not None:
        return replace(prediction, instances=None)
    instances = prediction.instances
    if instances is None or instances.scores is None:
        return prediction
    return replace(prediction, instances=instances[instances.scores >= min_score])


def default_scale(size: Size) -> float:
    """Enlargement that makes labels readable on an image of (height, width); at least 1."""
    return max(1.0, min(MIN_SIDE / min(size), MAX_ENLARGED / max(size)))


def _check(image: np.ndarray, prediction: Prediction, info: DatasetInfo) -> None:
    """Refuse an image, a prediction and class names that do not belong together."""
    where, fix = f"image {prediction.image_id!r}", "pass the model's own DatasetInfo"
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 (H, W, 3) RGB, got {image.dtype} {image.shape}")
    instances, semantic, scores = prediction.instances, prediction.semantic, prediction.class_scores
    panoptic, saliency = prediction.panoptic, prediction.saliency
    if all(value is None for value in (instances, semantic, panoptic, saliency, scores)):
        kinds = "no instances, no label map, no panoptic map, no saliency and no class scores"
        raise ValueError(f"the prediction of {where} has {kinds}, and nothing else can be drawn")
    shapes = {"prediction is for": tuple(prediction.size)}
    maps = (("label map", semantic), ("panoptic map", panoptic), ("saliency", saliency))
    shapes |= {name: values.shape for name, values in maps if values is not None}
    for name, shape in shapes.items():
        if shape != image.shape[:2]:
            sizes = f"{image.shape[:2]} (height, width), but its {name} {shape}"
            how = "draw on the original image, in whose pixels predictions are"
            raise ValueError(f"{where} is {sizes}; {how}")
    known = f"{counted(info.num_classes, 'class')} of {info.name!r}"
    if scores is not None and scores.shape != (info.num_classes,):
        raise ValueError(f"{where}: scores of shape {tuple(scores.shape)} for the {known}; {fix}")
    labels = [0, *(segment["label"] for segment in prediction.segments or [])]
    if semantic is not None:
        labels += np.flatnonzero(class_counts(semantic)[:IGNORE_LABEL]).tolist()
    if instances is not None:
        labels += instances.labels.tolist()
    if max(labels) >= info.num_classes:
        raise ValueError(f"{where}: label {max(labels)} is none of the {known}; {fix}")
    joints, num = None if instances is None else instances.keypoints, len(info.keypoint_names)
    if joints is not None and (found := joints.shape[1]) != num:
        raise ValueError(
            f"{where}: {counted(found, 'keypoint')} for the {num} of {info.name!r}; {fix}"
        )


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Copy of a uint8 (H, W, 3) image with both sides times the scale."""
    if scale == 1:
        return image.copy()
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
