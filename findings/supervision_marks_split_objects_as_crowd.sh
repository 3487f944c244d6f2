#!/usr/bin/env bash
# An object with a hole or in two pieces leaves supervision's COCO export as a crowd region, and one
# in two pieces leaves its YOLO export as two objects.
#
# Package:  supervision 0.31.2, scored with pycocotools 2.0.11.
# Expected: one record an object with iscrowd 0, whatever its shape (`iscrowd: 1` is a group that
#           nobody counted); one line an object in YOLO files.
# Happens:  as_coco() writes `iscrowd: 1` for a mask with a hole or a second piece, unless the
#           detections carry flags of their own. as_yolo() writes one line for each piece.
# Matters:  evaluators forgive everything on a crowd region and trainers leave it out: cups, rings
#           and people behind a pole vanish from both without a word. Masks predicted by a model
#           carry no flags, so pseudo-labels lose exactly the hard objects.
# Seen:     as_coco: iscrowd of ring, person behind pole, pair of wheels, plate: [1, 1, 1, 0]
#           only the plate found: AP50 1.000; the same with iscrowd set to 0: AP50 0.257
#           as_yolo: 4 objects, 6 lines; read back: 6 objects
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    supervision==0.31.2 pycocotools==2.0.11 numpy==2.4.6 pillow==13.0.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import json

import numpy as np
import supervision as sv
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

rows, columns = np.mgrid[:200, :200]
distance = np.hypot(rows - 45, columns - 45)
masks = np.zeros((4, 200, 200), bool)
masks[0] = (distance < 30) & (distance > 15)
masks[1, 20:80, 110:125] = masks[1, 20:80, 132:147] = True
masks[2, 120:140, 20:40] = masks[2, 120:140, 60:80] = True
masks[3, 120:170, 120:170] = True
Image.new("RGB", (200, 200)).save("scene.png")
objects = sv.Detections(sv.mask_to_xyxy(masks).astype(float), masks, class_id=np.zeros(4, int))
dataset = sv.DetectionDataset(["thing"], ["scene.png"], {"scene.png": objects})
dataset.as_coco(annotations_path="truth.json")
dataset.as_yolo(annotations_directory_path="labels", data_yaml_path="data.yaml")


def ap50_of_the_plate(**change):
    truth = COCO()
    truth.dataset = json.load(open("truth.json"))
    records = [record | change for record in truth.dataset["annotations"]]
    truth.dataset["annotations"] = records
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        plate = dict(image_id=1, category_id=1, bbox=records[3]["bbox"], score=0.9)
        run = COCOeval(truth, truth.loadRes([plate]), "bbox")
        run.evaluate(), run.accumulate(), run.summarize()
    return round(float(run.stats[1]), 3)


flags = [record["iscrowd"] for record in json.load(open("truth.json"))["annotations"]]
written, cleared = ap50_of_the_plate(), ap50_of_the_plate(iscrowd=0)
lines = len(open("labels/scene.txt").readlines())
again = sum(len(found) for _, _, found in dataset.from_yolo(".", "labels", "data.yaml"))
print("as_coco: iscrowd of ring, person behind pole, pair of wheels, plate:", flags)
print(f"only the plate found: AP50 {written:.3f}; the same with iscrowd set to 0: "
      f"AP50 {cleared:.3f}")
print(f"as_yolo: 4 objects, {lines} lines; read back: {again} objects")
assert flags == [1, 1, 1, 0], "changed: as_coco no longer flags holes and pieces as crowd"
assert written == 1 and cleared < 0.26, "changed: the flags no longer hide three objects of four"
assert lines == again == 6, "changed: as_yolo no longer writes an object for each piece"
PY
