"""Evaluate folders of label maps or saliency maps that any program saved.

A prediction and an annotation belong together when their files have the same key; see
``van_dense/data/readers/image_mask.py`` for the patterns that say what the key is.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Size
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_classes, read_grey, read_saliency
from van_dense.data.readers.image_mask import Pairs
from van_dense.evaluation.evaluator import Evaluator, naming_files
from van_dense.evaluation.saliency import SaliencyEvaluator
from van_dense.evaluation.semantic import SemanticEvaluator

logger = logging.getLogger(__name__)

_SHOWN = 3  # keys in a message

Files = Mapping[str, tuple[Path, Path]]  # prediction and annotation of each key


def find_files(
    predictions: str | Path,
    annotations: str | Path,
    *,
    prediction_pattern: str = "{key}.*",
    mask_pattern: str = "{key}.*",
) -> Files:
    """Pair the files of two folders; predictions without annotation are logged and left out.

    ValueError for an empty or missing folder, an annotation without prediction, one key twice.
    """
    patterns = {"image_pattern": prediction_pattern, "mask_pattern": mask_pattern}
    found = Pairs(predictions, annotations, **patterns)
    maps, masks = found.images, found.masks
    if missing := sorted(masks.keys() - maps.keys()):
        raise ValueError(
            f"{predictions}: {len(missing)} of {len(masks)} annotations have no prediction: "
            f"{shorten(missing, _SHOWN)}; the predictions there are called "
            f"{shorten(sorted(maps), _SHOWN)}. "
            "Predict every image, or give the patterns of both names"
        )
    if repeated := [text for key, text in found.problems if key in masks and key in maps]:
        raise ValueError(f"{repeated[0]}; keep one of them, or give a pattern that leaves one out")
    if extra := sorted(maps.keys() - masks.keys()):
        several = counted(len(extra), "prediction")
        logger.warning("not evaluated: %s without annotation: %s", several, shorten(extra, _SHOWN))
    paths = (Path(predictions), Path(annotations))
    return {key: (paths[0] / maps[key], paths[1] / masks[key]) for key in found.complete}


def label_info(label_map: Sequence[str], classes: Sequence[str] = ()) -> DatasetInfo:
    """Names of the classes of a label map, of its raw values where none are given.

    Args:
        label_map: Lines such as "1..150 -> 0..149", which ``LabelMap`` parses.
        classes: Class names.

    Raises:
        ValueError: For a label map that cannot be read or does not fit the names.
    """
    labels = LabelMap.parse(label_map, len(classes) or None)
    names = tuple(classes or map(str, labels.raw_of_class))
    return DatasetInfo("annotations", class_names=names, category_ids=labels.raw_of_class)


def evaluate_label_maps(
    files: Files, label_map: Sequence[str], classes: Sequence[str] = ()
) -> SemanticEvaluator:
    """Compare label maps; one label map reads predictions and annotations.

    A predicted value that it ignores is no class, and wrong wherever there is one.

    Args:
        files: Prediction and annotation of each key, from ``find_files``.
        label_map: Lines such as "1..150 -> 0..149", which ``LabelMap`` parses.
        classes: Class names; without any the classes are called by their raw values.

    Raises:
        ValueError: For a label map that cannot be read or does not fit the names, and, with the
            names of the files, for a broken file, a value without a line, or two sizes.
    """
    info = label_info(label_map, classes)
    labels = LabelMap.parse(label_map, info.num_classes)

    def read(path: Path) -> np.ndarray:
        return read_classes(path, labels)

    evaluator = SemanticEvaluator(lambda key: read(files[str(key)][1]), list(files), info)
    for key, paths in files.items():
        found = read(paths[0])
        _update(evaluator, Prediction(key, _size(found), semantic=found), paths)
    return evaluator


def evaluate_saliency_maps(files: Files) -> SaliencyEvaluator:
    """Compare saliency maps; those of another size are enlarged or reduced bilinearly, and logged.

    Networks have one size for all images and many save their maps so. ValueError names the files
    where one is broken, height and width are swapped, or all maps are all but black.
    """
    truth = lru_cache(maxsize=1)(lambda key: read_saliency(files[str(key)][1]))
    evaluator = SaliencyEvaluator(truth, list(files))
    resized, brightest = 0, 0
    for key, paths in files.items():
        grey = read_grey(paths[0])
        brightest = max(brightest, int(grey.max()))
        size = _size(truth(key))
        resized += grey.shape != size
        grey = fit_grey(grey, size, paths)
        prediction = Prediction(key, size, saliency=grey.astype(np.float32) / np.float32(255))
        _update(evaluator, prediction, paths)
    if brightest == 1:
        dark = "no map is brighter than 1 of 255; were they saved as 0..1? Multiply them by 255"
        raise ValueError(f"{paths[0].parent}: {dark}")
    if resized:
        part = f"{resized} of {len(files)}"
        logger.warning("%s maps were resized bilinearly to the size of their annotation", part)
    return evaluator


def _update(evaluator: Evaluator, prediction: Prediction, paths: tuple[Path, Path]) -> None:
    with naming_files(*paths):
        evaluator.update([prediction])


def fit_grey(grey: np.ndarray, size: Size, paths: tuple[Path, Path]) -> np.ndarray:
    """A saliency map uint8 (H, W), brought to the (height, width) of its annotation bilinearly.

    ValueError, with the names of both files, where height and width are swapped.
    """
    if grey.shape == size:
        return grey
    if grey.shape == size[::-1]:
        sizes = f"is {size[0]}x{size[1]} (width x height), {paths[1]} {size[1]}x{size[0]}"
        fix = "height and width are swapped; turn the map as the annotation is"
        raise ValueError(f"{paths[0]} {sizes}: {fix}")
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_LINEAR)


def _size(array: np.ndarray) -> Size:
    return array.shape[0], array.shape[1]
