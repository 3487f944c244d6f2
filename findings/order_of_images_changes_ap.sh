#!/usr/bin/env bash
# Renumbering the images changes COCO AP when scores tie: among equal scores the image with the
# smaller id is ranked first, and AP is read off the ranking.
#
# Package:  pycocotools 2.0.11, hotcoco 1.3.0 and faster-coco-eval 1.8.0; they agree to 1e-9.
# Expected: AP depends on boxes, classes and scores, not on the numbers that images happen to have.
# Happens:  evaluators walk the images by ascending id and sort scores with a stable sort, so the id
#           settles a tie; the curve has a point for each detection, not for each distinct score.
# Matters:  scores tie when they are rounded in a file, come from an 8-bit head, or are all 1 as in
#           pseudo-labels. Merging or re-exporting a set renumbers it, and AP moves by points for
#           the same predictions. That three evaluators agree proves nothing here.
# Seen:     every score 0.9, half the images right: AP 0.505, ids reversed 0.252
#           detector, scores as they are:           AP 0.495, ids reversed 0.495
#           detector, scores to 1 decimal:          AP 0.509, ids reversed 0.481
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    pycocotools==2.0.11 hotcoco==1.3.0 faster-coco-eval==1.8.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import json

import faster_coco_eval
import hotcoco
import numpy as np
from pycocotools import coco, cocoeval

ENGINES = [(coco.COCO, cocoeval.COCOeval), (hotcoco.COCO, hotcoco.COCOeval),
           (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster)]


def average_precision(images, ids):
    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
    found = []
    for image, detections in zip(ids, images):
        truth["images"].append({"id": image, "width": 1000, "height": 1000})
        for place, (right, score) in enumerate(detections):
            here = {"image_id": image, "category_id": 1, "bbox": [200 * place, 0, 100, 100]}
            truth["annotations"].append(
                here | {"id": len(found) + 1, "area": 10000, "iscrowd": 0})
            here["bbox"] = [200 * place, 0 if right else 500, 100, 100]
            found.append(here | {"score": score})
    json.dump(truth, open("truth.json", "w"))
    values = []
    for load, evaluate in ENGINES:
        with contextlib.redirect_stdout(io.StringIO()):
            data = load("truth.json")
            run = evaluate(data, data.loadRes([dict(box) for box in found]), "bbox")
            run.evaluate(), run.accumulate(), run.summarize()
        values.append(float(run.stats[0]))
    assert np.ptp(values) < 1e-9, "changed: the evaluators no longer agree"
    return values[0]


def compare(name, images):
    ids = range(1, len(images) + 1)
    given, turned = average_precision(images, ids), average_precision(images, ids[::-1])
    print(f"{name:39} AP {given:.3f}, ids reversed {turned:.3f}")
    return given - turned


random = np.random.default_rng(1)
exact, rounded = [], []
for difficulty in np.linspace(0, 0.8, 300):  # later images are harder; right boxes score higher
    right = random.random(5) > difficulty
    score = 1 / (1 + np.exp(-random.normal(np.where(right, 0.8, -0.2), 1)))
    exact.append(list(zip(right, score.tolist())))
    rounded.append(list(zip(right, score.round(1).tolist())))
half = compare("every score 0.9, half the images right:", [[(i < 50, 0.9)] for i in range(100)])
assert half > 0.2, "changed: the id of the image no longer settles ties"
assert abs(compare("detector, scores as they are:", exact)) < 1e-9, "changed: AP without ties"
assert compare("detector, scores to 1 decimal:", rounded) > 0.01, "changed: rounding is harmless"
PY
