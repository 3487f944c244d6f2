"""Panoptic segments on pictures: stuff by the colour of its class, every thing by one of its own.

Legend: S segments; an index map holds 0 for void and i + 1 for ``segments[i]``.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.segments import segment_index
from van_dense.core.structures import IGNORE_LABEL, Prediction, Segment
from van_dense.visualize.labels import Label, draw_labels
from van_dense.visualize.legend import short_name
from van_dense.visualize.maps import fit_map, name_regions, tint_regions
from van_dense.visualize.palette import CROWD, class_colors, distinct_colors


def draw_panoptic(canvas: np.ndarray, prediction: Prediction, info: DatasetInfo) -> None:
    """Tint every pixel by its segment, in place, with borders; name stuff and label things.

    Void keeps the photo and is hatched. The colours of things keep away from each other and from
    those of the stuff around them. Ground truth, whose scores are all 1, is labelled by name. The
    map may have any size; where ``info`` does not say which classes are things, all are.
    """
    segments = prediction.segments or []
    index = fit_map(_index_of(prediction), canvas)
    is_thing = [info.thing_flags[segment["label"]] for segment in segments]
    of_class = class_colors(info)
    stuff = {s["label"] for s, thing in zip(segments, is_thing, strict=True) if not thing}
    own = iter(distinct_colors(sum(is_thing), tuple(of_class[label] for label in sorted(stuff))))
    kinds = zip(segments, is_thing, strict=True)
    colors = [next(own) if thing else of_class[segment["label"]] for segment, thing in kinds]
    table = np.full((max(256, len(segments) + 1), 3), CROWD, dtype=np.uint8)
    table[1 : len(colors) + 1] = np.reshape(colors, (-1, 3))
    tint_regions(canvas, index, table, ignored=0)
    written = name_regions(canvas, _stuff_of(index, segments, info), info.class_names)

    is_truth = all(segment["score"] == 1 for segment in segments)
    labels = []
    places = ndimage.find_objects(index, max_label=len(segments))
    for segment, thing, color, place in zip(segments, is_thing, colors, places, strict=True):
        if thing and place is not None:
            name = short_name(info.class_names[segment["label"]])
            name = f"{name} (crowd)" if segment.get("crowd") else name
            text = name if is_truth else f"{name} {segment['score']:.0%}"
            rows, columns = place
            labels.append(Label(text, (columns.start, rows.start, columns.stop, rows.stop), color))
    draw_labels(canvas, sorted(labels, key=_area), taken=written)


def stuff_fractions(prediction: Prediction, info: DatasetInfo) -> np.ndarray:
    """Fraction of the picture that each class of stuff fills, float64 (256,), and void at 255."""
    index, segments = _index_of(prediction), prediction.segments or []
    pixels = np.bincount(index.ravel(), minlength=len(segments) + 1)
    fractions = np.zeros(256)
    fractions[IGNORE_LABEL] = pixels[0]
    for segment, count in zip(segments, pixels[1:], strict=True):
        if not info.thing_flags[segment["label"]]:
            fractions[segment["label"]] += count
    return fractions / index.size


def _index_of(prediction: Prediction) -> np.ndarray:
    """Position of the segment of each pixel plus one, 0 where there is none, uint8 or uint16."""
    panoptic, segments = prediction.panoptic, prediction.segments
    what = f"image {prediction.image_id!r}: the panoptic map"
    if panoptic is None or segments is None:
        raise ValueError(f"{what} and its segments go together, and one is missing")
    return segment_index(panoptic, segments, what)


def _stuff_of(index: np.ndarray, segments: Sequence[Segment], info: DatasetInfo) -> np.ndarray:
    """Label map of the stuff, uint8; 255 for things and void."""
    labels = [s["label"] for s in segments]
    labels = [IGNORE_LABEL if info.thing_flags[label] else label for label in labels]
    return np.array([IGNORE_LABEL, *labels], dtype=np.uint8)[index]


def _area(label: Label) -> float:
    x0, y0, x1, y1 = label.box
    return (x1 - x0) * (y1 - y0)
