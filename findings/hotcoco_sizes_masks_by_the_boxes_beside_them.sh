#!/usr/bin/env bash
# hotcoco sorts masks into small, medium and large by the boxes of the array they are given beside,
# and by their own pixels where the same results are given as dictionaries.
#
# Package:  hotcoco 1.3.0, beside pycocotools 2.0.11
# Expected: StreamingEval.update and load_res take results as dictionaries or, for speed, as an
#           array (image, x, y, width, height, score, category) with the masks beside it: one result,
#           one number. The array asks for boxes, which masks do not need, so zeros should do.
# Happens:  AP, AP50 and AP75 are equal, but the area of a result is then width times height of its
#           row. It decides which unmatched results count against the AP of a size.
# Matters:  thin or slanted objects fill a tenth of their box: their false positives are counted as
#           large ones. With zeros all are small, and APm and APl know no false positive at all.
# Seen:     dictionaries          AP 0.400, small 0.250, medium 1.000, no large object
#           array, boxes of masks AP 0.400, small 1.000, medium 0.250
#           array, zeros          AP 0.400, small 0.250, medium 1.000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    pycocotools==2.0.11 hotcoco==1.3.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io

import numpy as np
from hotcoco import StreamingEval
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 200
CATEGORIES = [{"id": 1, "name": "twig"}]


def mask(left, top, width, height, slanted):
    """A filled rectangle, or the diagonal of one, seven pixels thick."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = (columns >= left) & (columns < left + width) & (rows >= top) & (rows < top + height)
    if slanted:
        inside &= abs((columns - left) * height - (rows - top) * width) < 3.5 * width
    found = masks.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": found["size"], "counts": found["counts"].decode()}


def truth_and_results(images):
    truth, results = [], []
    for image in images:
        square, twig = mask(20, 20, 60, 60, False), mask(100, 100, 20, 20, False)
        for found in (square, twig):
            truth.append({"id": len(truth) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                          "area": float(masks.area(found)), "segmentation": found})
        # Three surer slanted results where nothing is, each of 420 pixels in a box of 60 x 60.
        for place, score in ((110, 0.9), (112, 0.8), (114, 0.7)):
            results.append((image, mask(place, 10, 60, 60, True), score))
        results += [(image, square, 0.6), (image, twig, 0.5)]
    return truth, results


def average_precisions(precision):
    """AP of all sizes, small, medium and large; NaN where there is no object."""
    values = [precision[..., size, -1] for size in range(4)]
    return [float(v[v > -1].mean()) if (v > -1).any() else float("nan") for v in values]


def by_hotcoco(images, truth, results, rows):
    stream = StreamingEval(CATEGORIES, "segm")
    records = [{"id": image, "width": SIDE, "height": SIDE} for image in images]
    if rows is None:
        found = [{"image_id": i, "category_id": 1, "score": s, "segmentation": m}
                 for i, m, s in results]
        stream.update(records, truth, found)
    else:
        stream.update(records, truth, rows, segmentation=[m for _, m, _ in results])
    evaluation = stream.finalize()
    evaluation.accumulate()
    return average_precisions(np.asarray(evaluation.eval["precision"]))


def by_pycocotools(images, truth, results):
    records = [{"id": image, "width": SIDE, "height": SIDE} for image in images]
    found = [{"image_id": i, "category_id": 1, "score": s, "segmentation": m} for i, m, s in results]
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {"images": records, "annotations": truth, "categories": CATEGORIES}
        data.createIndex()
        evaluation = COCOeval(data, data.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    return average_precisions(evaluation.eval["precision"])


images = range(1, 11)
truth, results = truth_and_results(images)
boxes = [masks.toBbox(m) for _, m, _ in results]
rows = np.array([[i, *box, s, 1] for (i, _, s), box in zip(results, boxes)])
zeros = rows.copy()
zeros[:, 1:5] = 0
seen = {
    "dictionaries": by_hotcoco(images, truth, results, None),
    "array, boxes of masks": by_hotcoco(images, truth, results, rows),
    "array, zeros": by_hotcoco(images, truth, results, zeros),
}
for name, values in seen.items():
    sizes = ", ".join(f"{s} {v:.3f}" for s, v in zip(("small", "medium", "large"), values[1:]))
    print(f"{name:21} AP {values[0]:.3f}, {sizes}")
reference = by_pycocotools(images, truth, results)
assert np.allclose(seen["dictionaries"], reference, atol=1e-9, equal_nan=True), \
    "changed: dictionaries no longer give pycocotools' numbers"
assert len({values[0] for values in seen.values()}) == 1, "changed: AP itself differs"
assert not np.allclose(seen["array, boxes of masks"][1:3], reference[1:3]), \
    "changed: masks beside an array are sized by their own pixels"
PY
