"""Boundary AP of masks: by hand, and beside the published code's statements in NumPy."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from van_dense.core.dataset_info import DatasetInfo
from van_dense.evaluation import coco
from van_dense.evaluation.coco import (
    DETECTION_METRICS,
    CocoEvaluator,
    CocoScores,
    evaluate_results,
)
from van_dense.evaluation.outlines import is_outline, mask_outline
from van_dense.evaluation.result_table import ResultTable

CATEGORIES = [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}]


def rle_of(mask: np.ndarray) -> dict:
    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def square(left: int, top: int, side: int = 40) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def record(mask: np.ndarray, **more: object) -> dict:
    return {"image_id": 1, "category_id": 2, "segmentation": rle_of(mask), **more}


def truth_of(*masks: np.ndarray, **more: object) -> dict:
    entries = [
        {"id": n, "area": int(mask.sum()), "iscrowd": 0, **record(mask), **more}
        for n, mask in enumerate(masks, 1)
    ]
    images = [{"id": 1, "height": 100, "width": 100}]
    return {"images": images, "annotations": entries, "categories": CATEGORIES}


def measure(truth: dict, results: list[dict], backend: str = "hotcoco") -> CocoScores:
    return evaluate_results(truth, results, "segm", backend=backend, rules="boundary")


# ------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_the_iou_is_the_smaller_one_of_masks_and_of_outlines(backend):
    """Outlines are 3 pixels wide here.

    Squares of 40 pixels, one moved by 2: the masks have an IoU of 1520 / 1680. Each outline has
    40² - 34² = 444 pixels; 1520 - (2 · 1156 - 1088) = 296 are common, an IoU of 296 / 592 = 0.5.
    """
    truth, results = truth_of(square(10, 10)), [record(square(12, 10), score=0.9)]
    assert evaluate_results(truth, results, "segm", backend=backend).metrics["AP"] == (
        pytest.approx(0.9)
    )
    scores = measure(truth, results, backend)
    assert scores.metrics["AP50"] == pytest.approx(1)
    assert scores.metrics["AP"] == scores.per_class["cat"]["AP"] == pytest.approx(0.1)
    moved = [record(square(13, 10), score=0.9)]  # 1480 - (2 · 1156 - 1054) = 222: 222 / 666
    assert measure(truth, moved, backend).metrics["AP50"] == 0


def test_of_a_small_object_the_outline_is_all():
    truth, results = truth_of(square(10, 10, 6)), [record(square(11, 10, 6), score=0.9)]
    metrics = measure(truth, results).metrics  # IoU 30 / 42
    assert metrics["APs"] == metrics["AP"] == pytest.approx(0.5)
    assert list(metrics) == list(DETECTION_METRICS)


def test_in_a_crowd_region_the_mask_alone_counts():
    crowd = truth_of(square(0, 0, 80), iscrowd=1)["annotations"][0]
    truth = truth_of(square(85, 85, 12))
    truth["annotations"].append({**crowd, "id": 2})
    inside = record(square(20, 20), score=0.9)  # its outline is nowhere near that of the crowd
    right = record(square(85, 85, 12), score=0.5)
    assert measure(truth, [inside, right]).metrics["AP"] == pytest.approx(1)


def test_nothing_found_is_0_and_nothing_annotated_is_nothing():
    assert measure(truth_of(square(10, 10)), []).metrics["AP"] == 0
    metrics = measure(truth_of(), [record(square(10, 10), score=0.9)]).metrics
    assert all(map(math.isnan, metrics.values()))


def test_an_evaluator_tells_them_beside_ap():
    truth, info = truth_of(square(10, 10)), DatasetInfo("shapes", ("cat", "dog"), (2, 5))
    evaluator = CocoEvaluator(truth, info, ("bbox", "segm"), backend="hotcoco", boundary=True)
    evaluator.take(ResultTable.of([record(square(12, 10), score=0.9)], truth), ("segm",))
    metrics = evaluator.compute()
    assert (metrics["segm/AP"], metrics["boundary/AP"]) == pytest.approx((0.9, 0.1))
    assert evaluator.per_class()["boundary"]["cat"]["AP50"] == pytest.approx(1)


# ------------------------------------------------------------------- beside the published code


def eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """Erosion by a square of 3 pixels, in an image surrounded by background."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        height, width = mask.shape
        windows = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        mask = np.min(windows, axis=0)
    return mask


def outline_of(mask: np.ndarray) -> np.ndarray:
    return mask - eroded(mask, max(1, round(0.02 * math.hypot(*mask.shape))))


class Reference(COCOeval):
    """``computeBoundaryIoU`` of boundary-iou-api, from whole masks."""

    def computeIoU(self, imgId: int, catId: int) -> object:
        truth, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not truth or not found:
            return []
        found = sorted(found, key=lambda result: -result["score"])[:100]
        values = np.zeros((len(found), len(truth)))
        for i, result in enumerate(found):
            mine = mask_utils.decode(result["segmentation"])
            for j, annotation in enumerate(truth):
                theirs = mask_utils.decode(annotation["segmentation"])
                both = (mine & theirs).sum()
                if annotation["iscrowd"]:
                    values[i, j] = both / mine.sum()
                    continue
                lines = outline_of(mine), outline_of(theirs)
                ious = (
                    both / (mine | theirs).sum(),
                    ((lines[0] & lines[1]).sum() / (lines[0] | lines[1]).sum()),
                )
                values[i, j] = min(ious)
        return values


def blob(generator: np.random.Generator, size: tuple[int, int], moved: float = 0) -> np.ndarray:
    """An ellipse, which may leave the image."""
    y, x = np.mgrid[: size[0], : size[1]]
    centre = generator.uniform(0, size)
    axes = generator.choice([6, 20, 60], size=2) * generator.uniform(0.8, 1.2, size=2)
    shift = generator.normal(0, moved, size=2) if moved else np.zeros(2)
    mask = ((y - centre[0] - shift[0]) / axes[0]) ** 2 + ((x - centre[1]) / axes[1]) ** 2 < 1
    mask[int(centre[0]), int(centre[1])] = True
    return mask.astype(np.uint8)


def generated(seed: int) -> tuple[dict, list[dict]]:
    generator = np.random.default_rng(seed)
    images, truth, results = [], [], []
    for image_id, size in enumerate([(90, 120), (150, 100), (64, 64), (200, 160), (40, 300)], 1):
        images.append({"id": image_id, "height": size[0], "width": size[1]})
        for _ in range(5):
            drawn = int(generator.integers(1 << 30))
            mask = blob(np.random.default_rng(drawn), size)
            place = {"image_id": image_id, "category_id": int(generator.choice([2, 5]))}
            entry = {"id": len(truth) + 1, "iscrowd": int(generator.random() < 0.2)}
            entry |= {"area": int(mask.sum()), "segmentation": rle_of(mask)}
            truth.append({**place, **entry})
            for _ in range(generator.integers(0, 3)):
                near = blob(np.random.default_rng(drawn), size, moved=2)
                near ^= (generator.random(size) < 0.002) & near
                score = float(generator.integers(1, 6)) / 5
                results.append({**place, "score": score, "segmentation": rle_of(near)})
    return {"images": images, "annotations": truth, "categories": CATEGORIES}, results


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_the_published_code(seed, monkeypatch):
    truth, results = generated(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = truth
        index.createIndex()
        reference = Reference(index, index.loadRes([dict(r) for r in results]), "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    expected = [math.nan if v == -1 else v for v in reference.stats.tolist()]
    truth, results = generated(seed)
    monkeypatch.setattr(coco, "_OUTLINES_AT_ONCE", 1)  # class by class
    metrics = measure(truth, results).metrics
    plain = evaluate_results(truth, results, "segm", backend="hotcoco").metrics
    assert 0.1 < metrics["AP"] < plain["AP"] - 0.05
    assert list(metrics.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("size", [(20, 30), (90, 120), (640, 480)])
def test_outlines_of_a_window_are_those_of_the_image(size):
    mask = blob(np.random.default_rng(3), size)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    whole = mask_outline(mask, size)
    assert np.array_equal(whole, outline_of(mask).astype(bool))
    assert np.array_equal(mask_outline(np.ascontiguousarray(mask[window]), size), whole[window])
    assert np.array_equal(is_outline(mask) & (mask == 1), whole)
