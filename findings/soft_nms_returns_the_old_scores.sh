#!/usr/bin/env bash
# soft_nms() of ensemble-boxes lowers the scores of overlapping boxes on a copy and returns the
# scores it was given, so it suppresses nothing.
#
# Package:  ensemble-boxes 1.0.9, scored with pycocotools 2.0.11.
# Expected: Soft-NMS keeps a duplicate but lowers its score: 0.80 on top of 0.90, same box, becomes
#           0.80 * exp(-1 / 0.5) = 0.108, so that it sorts below the other objects.
# Happens:  the lowered score only decides whether the box stays (above 0.001 by default); the box
#           that stays has its old score. With the defaults no duplicate leaves and none sinks.
# Matters:  who joins two detectors this way hands in every object twice with full confidence and
#           learns that "Soft-NMS does not help"; `method` and `sigma` seem to have no effect.
# Seen:     soft_nms of 0.9 and 0.8 on one box: [0.9, 0.8]; the formula gives [0.9, 0.108]
#           AP, two detectors on 200 objects: joined 0.830, soft_nms 0.830, formula 1.000, nms 1.000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    ensemble-boxes==1.0.9 pycocotools==2.0.11 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io

import numpy as np
from ensemble_boxes import nms, soft_nms
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

LOWERED = np.exp(-1 / 0.5)  # the factor of an overlap of 1 at the default sigma of 0.5
same = [0.2, 0.2, 0.4, 0.4]
returned = soft_nms([[same], [same]], [[0.9], [0.8]], [[0], [0]])[1].tolist()
formula = [0.9, round(float(0.8 * LOWERED), 3)]
print(f"soft_nms of 0.9 and 0.8 on one box: {returned}; the formula gives {formula}")

random = np.random.default_rng(0)
corner = np.array([[0.1, 0.1], [0.6, 0.1], [0.1, 0.6], [0.6, 0.6]])
truth, found = COCO(), {"joined": [], "soft_nms": [], "formula": [], "nms": []}
truth.dataset = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
for image in range(1, 51):
    here = {"image_id": image, "category_id": 1}
    truth.dataset["images"].append({"id": image, "width": 1000, "height": 1000})
    for x, y in 1000 * corner:
        truth.dataset["annotations"].append(here | {
            "id": len(truth.dataset["annotations"]) + 1,
            "bbox": [x, y, 200, 200], "area": 40000, "iscrowd": 0})
    boxes = np.hstack([corner, corner + 0.2]) + random.normal(0, 0.001, (2, 4, 4))
    scores, labels = random.uniform(0.6, 0.9, (2, 4)), np.zeros((2, 4))
    results = {"joined": (boxes, scores), "formula": (
        boxes, np.where(scores == scores.max(axis=0), scores, scores * LOWERED))}
    for method in (soft_nms, nms):
        results[method.__name__] = method(list(boxes), list(scores), list(labels))[:2]
    for name, (places, confidences) in results.items():
        for (x1, y1, x2, y2), score in zip(1000 * places.reshape(-1, 4), confidences.ravel()):
            found[name].append(here | {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
ap = {}
with contextlib.redirect_stdout(io.StringIO()):
    truth.createIndex()
    for name, detections in found.items():
        run = COCOeval(truth, truth.loadRes(detections), "bbox")
        run.evaluate(), run.accumulate(), run.summarize()
        ap[name] = float(run.stats[0])
print("AP, two detectors on 200 objects:", ", ".join(f"{k} {v:.3f}" for k, v in ap.items()))
assert returned == [0.9, 0.8], "changed: soft_nms now returns lowered scores"
assert ap["soft_nms"] == ap["joined"] < ap["formula"] - 0.1, "changed: soft_nms now changes AP"
PY
