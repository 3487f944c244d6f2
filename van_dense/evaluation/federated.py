"""Federated ground truth, as that of LVIS: each image was searched for some of the classes alone.

Source: Gupta et al., "LVIS", CVPR 2019, and the package ``lvis`` 0.5.3
(https://github.com/lvis-dataset/lvis-api), whose numbers these are: see
``tests/evaluation/test_federated.py``. An image lists the classes that were looked for and are not
there, and those of which not every object is annotated; a category says how often it occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from van_dense.core.counting import counted
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.result_table import ResultTable, sorted_ids

# APr, APc and APf are of the rare, common and frequent classes.
METRICS = tuple("AP AP50 AP75 APs APm APl APr APc APf AR300 ARs ARm ARl".split())
LIMIT = 300  # results of an image, over all classes
LISTS = ("neg_category_ids", "not_exhaustive_category_ids")  # of an image
FREQUENCIES = ("r", "c", "f")


def check_federated(ground_truth: CocoDict) -> None:
    """ValueError where annotations do not say what was looked for in each image."""
    known = {category["id"] for category in ground_truth["categories"]}
    for key in LISTS:
        images = ground_truth["images"]
        if bare := sum(not isinstance(image.get(key), list) for image in images):
            raise ValueError(_missing(f"{bare} of {counted(len(images), 'image')}", key))
        for image in images:
            if unknown := set(image[key]) - known:
                what = f"image {image['id']!r}: {key} holds {sorted(unknown, key=str)[:5]}"
                raise ValueError(f"{what}, which are no categories of the annotations; remove them")
    categories = ground_truth["categories"]
    if bare := sum(category.get("frequency") not in FREQUENCIES for category in categories):
        whose = f"{bare} of {counted(len(categories), 'category', 'categories')}"
        raise ValueError(_missing(whose, "frequency", " of r, c or f"))


def _missing(whose: str, key: str, form: str = "") -> str:
    fix = "add it as LVIS v1 has it, or measure as COCO, without --federated (eval.federated=false)"
    return f"federated evaluation: {whose} of the annotations have no {key!r}{form}; {fix}"


def frequencies(categories: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Which of C categories are rare, common and frequent: bool (C,) by "r", "c" and "f"."""
    found = np.array([category["frequency"] for category in categories])
    return {frequency: found == frequency for frequency in FREQUENCIES}


def listed_pairs(ground_truth: CocoDict, key: str) -> np.ndarray:
    """What one of the ``LISTS`` of images names, int64 (P,): image * C + category.

    Images and categories are positions among their ascending ids, C the number of categories.
    """
    positions = {c: i for i, c in enumerate(sorted(c["id"] for c in ground_truth["categories"]))}
    images = {image["id"]: image[key] for image in ground_truth["images"]}
    pairs = [
        index * len(positions) + positions[category]
        for index, image_id in enumerate(sorted_ids(images))
        for category in images[image_id]
    ]
    return np.array(pairs, dtype=np.int64)


def limit_notes(results: ResultTable) -> list[str]:
    """What the limit on the results of an image leaves out."""
    beyond = int((results.rows_of_each("image") - LIMIT).clip(0).sum())
    if not beyond:
        return []
    what = f"{beyond} of {len(results)} results are beyond the best {LIMIT} of their image"
    return [f"{what}, over all classes, and do not count, as in LVIS"]
