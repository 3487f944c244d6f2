#!/usr/bin/env bash
# What hotcoco gives after streaming has metrics, but its error split and calibration are all zero.
#
# Package:  hotcoco 1.3.0
# Expected: StreamingEval.finalize returns a COCOeval: the same results give the same AP, and the
#           same tide_errors, calibration and confusion_matrix, or an error that says why not.
# Happens:  AP is equal to the last bit. tide_errors counts 0 of every kind and its ap_base is 0,
#           calibration has an ECE of 0 over 0 detections, and confusion_matrix is empty: streaming
#           keeps what AP needs and drops boxes and scores. Nothing warns.
# Matters:  a report of a large data set, for which streaming is made, reads as that of a detector
#           without errors that is perfectly calibrated.
# Seen:     batch     AP 0.289, background 100, localisation 40, ECE 0.227, matrix adds up to 240
#           streamed  AP 0.289, background 0, localisation 0, ECE 0.000, matrix adds up to 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check hotcoco==1.3.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from hotcoco import COCO, COCOeval, StreamingEval

IMAGES = range(1, 101)
rng = np.random.default_rng(0)
categories = [{"id": 1, "name": "cup"}]
images = [{"id": number, "width": 100, "height": 100} for number in IMAGES]
truth = [
    {"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0}
    for n in IMAGES
]
# One result on each object, two in five of them badly placed, and one on nothing.
placed = [[n, 10 + (25 if n % 5 < 2 else 2), 10, 40, 40, rng.random(), 1] for n in IMAGES]
nothing = [[n, 60, 60, 20, 20, 0.6 * rng.random(), 1] for n in IMAGES]
rows = np.array(placed + nothing)

data = COCO({"images": images, "annotations": truth, "categories": categories})
batch = COCOeval(data, data.load_res(rows), "bbox")
batch.evaluate()
stream = StreamingEval(categories, "bbox")
stream.update(images, truth, rows)
seen = {}
for name, evaluation in (("batch", batch), ("streamed", stream.finalize())):
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., 0, -1]
    errors = evaluation.tide_errors()
    seen[name] = {
        "AP": float(precision[precision > -1].mean()),
        "background": errors["counts"]["Bkg"],
        "localisation": errors["counts"]["Loc"],
        "ECE": evaluation.calibration()["ece"],
        "matrix": int(evaluation.confusion_matrix()["matrix"].sum()),
    }
    one = seen[name]
    print(f"{name:9} AP {one['AP']:.3f}, background {one['background']}, localisation"
          f" {one['localisation']}, ECE {one['ECE']:.3f}, matrix adds up to {one['matrix']}")
assert seen["batch"]["AP"] == seen["streamed"]["AP"], "changed: AP differs"
assert seen["batch"]["background"] and seen["batch"]["ECE"], "changed: no diagnostics in batch"
left = {key: seen["streamed"][key] for key in ("background", "localisation", "ECE", "matrix")}
assert not any(left.values()), "changed: streams have diagnostics"
PY
