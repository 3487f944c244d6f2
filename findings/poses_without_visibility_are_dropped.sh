#!/usr/bin/env bash
# xtcocotools leaves out a predicted pose when the third number of all its keypoints is 0; the
# evaluator of COCO never looks at that number in predictions.
#
# Package:  xtcocotools 1.14.3 beside pycocotools 2.0.11.
# Expected: a fork for more pose sets gives COCO's numbers on COCO files: in results the third
#           number of a keypoint is a placeholder, and poses are ranked by `score` alone.
# Happens:  a prediction without a third number above 0 is skipped before matching, in silence.
# Matters:  it cuts both ways. A writer that leaves the placeholder 0 gets AP 0. One that writes
#           keypoint scores and zeroes those below a threshold has its false poses taken out of the
#           count, so AP rises in the evaluator of the pose toolboxes and nowhere else.
# Seen:     right poses with 1:                          pycocotools 1.000, xtcocotools 1.000
#           right poses with 0:                          pycocotools 1.000, xtcocotools 0.000
#           right poses with 1, surer false ones with 1: pycocotools 0.500, xtcocotools 0.500
#           right poses with 1, surer false ones with 0: pycocotools 0.500, xtcocotools 1.000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    xtcocotools==1.14.3 pycocotools==2.0.11 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import json

import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
import xtcocotools.coco
import xtcocotools.cocoeval


def pose(x, third):
    joint = np.arange(17)
    points = np.stack([x + 10 * (joint % 4), 20 * (joint // 4), np.full(17, third)], axis=1)
    return {"keypoints": points.ravel().tolist()}


def average_precision(package, right, false):
    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    found = []
    for image in range(1, 21):
        here = {"image_id": image, "category_id": 1}
        truth["images"].append({"id": image, "width": 1000, "height": 1000})
        truth["annotations"].append(here | pose(100, 2) | {
            "id": image, "num_keypoints": 17, "bbox": [100, 0, 40, 90], "area": 3600, "iscrowd": 0})
        found.append(here | pose(100, right) | {"score": 0.5})
        if false is not None:
            found.append(here | pose(700, false) | {"score": 0.9})
    with open("truth.json", "w") as file:
        json.dump(truth, file)
    with contextlib.redirect_stdout(io.StringIO()):
        data = package.coco.COCO("truth.json")
        run = package.cocoeval.COCOeval(data, data.loadRes(found), "keypoints")
        run.evaluate(), run.accumulate(), run.summarize()
    return round(float(run.stats[0]), 3)


for name, right, false, expected in (
    ("right poses with 1:", 1, None, (1, 1)),
    ("right poses with 0:", 0, None, (1, 0)),
    ("right poses with 1, surer false ones with 1:", 1, 1, (0.5, 0.5)),
    ("right poses with 1, surer false ones with 0:", 1, 0, (0.5, 1)),
):
    seen = tuple(average_precision(each, right, false) for each in (pycocotools, xtcocotools))
    print(f"{name:44} pycocotools {seen[0]:.3f}, xtcocotools {seen[1]:.3f}")
    assert seen == expected, "changed: the evaluators treat the third number in another way"
PY
