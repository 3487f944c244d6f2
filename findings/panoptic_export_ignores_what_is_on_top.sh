#!/usr/bin/env bash
# datumaro paints a COCO panoptic map in the order of the annotations and ignores which shape is on
# top; the area that it states for a segment is that before it was covered.
#
# Package:  datumaro 1.13.12, also its VOC export; panopticapi-lite 0.2.0 has COCO's evaluator.
# Expected: `z_order` settles who owns a pixel, as in the VOC export of the same data; `area` and
#           `bbox` of a segment describe its pixels in the map; a map has PQ 1 against itself.
# Happens:  the panoptic writer merges masks as they are listed and the last one wins. `area` and
#           `bbox` are those of the whole shape, also where the layers come out right.
# Matters:  annotation tools keep layers in z_order and list shapes as they were drawn: objects
#           first and the road below them afterwards gives maps where the road covers the objects.
#           COCO's evaluator takes the area of the truth from the record, so even a perfect
#           prediction loses quality wherever one shape covers another, and PQ 1 is out of reach.
# Seen:     person drawn first, road below it:
#             voc_segmentation: person 1300 pixels, road 4300 pixels
#             coco_panoptic:    person 600 pixels (area 1300), road 5000 pixels (area 5000)
#             the panoptic map scored against itself: person PQ 0.000, road PQ 1.000
#           road drawn first, the same layers:
#             voc_segmentation: person 1300 pixels, road 4300 pixels
#             coco_panoptic:    person 1300 pixels (area 1300), road 4300 pixels (area 5000)
#             the panoptic map scored against itself: person PQ 1.000, road PQ 0.860
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    datumaro==1.13.12 numpy==2.4.6 pillow==12.3.0
python3 -m venv "$work/judge" # the evaluator wants another numpy
"$work/judge/bin/pip" install --quiet --disable-pip-version-check \
    panopticapi-lite==0.2.0 numpy==1.26.4 pillow==12.3.0
cd "$work"
cat > judge.py <<'PY'
import contextlib
import io
import json
import sys

from panopticapi.evaluation import pq_compute_single_core

folder = sys.argv[1]
with open(f"{folder}/panoptic_train.json") as file:
    truth = json.load(file)
with open(f"{folder}/panoptic_train.json") as file:
    found = json.load(file)
categories = {category["id"]: category for category in truth["categories"]}
maps = f"{folder}/panoptic_train"
with contextlib.redirect_stdout(io.StringIO()):
    pairs = list(zip(truth["annotations"], found["annotations"]))
    counted = pq_compute_single_core(0, pairs, maps, maps, categories)
classes = counted.pq_average(categories, isthing=None)[1]
print(json.dumps({categories[key]["name"]: value["pq"] for key, value in classes.items()}))
PY
"$work/venv/bin/python" -W ignore - <<'PY'
import json
import subprocess

import datumaro as dm
import numpy as np
from PIL import Image

NAMES = ["person", "road"]
COLOURS = {"person": (128, 0, 0), "road": (0, 128, 0)}  # of the first two classes in VOC's palette


def rectangle(label, left, top, right, bottom, z_order):
    corners = [left, top, right, top, right, bottom, left, bottom]
    return dm.Polygon(corners, label=NAMES.index(label), z_order=z_order)


def export(folder, shapes):
    """Return pixels in VOC's map and in COCO's, the areas that COCO's record states, and PQ."""
    photo = dm.Image.from_numpy(np.zeros((100, 100, 3), np.uint8))
    data = dm.Dataset.from_iterable(
        [dm.DatasetItem("street", subset="train", media=photo, annotations=shapes)],
        categories=NAMES)
    data.transform("polygons_to_masks")
    data.export(f"{folder}/voc", "voc_segmentation", save_media=True)
    data.export(f"{folder}/coco", "coco_panoptic", save_media=True)

    painted = np.asarray(Image.open(f"{folder}/voc/SegmentationClass/street.png").convert("RGB"))
    voc = {name: int((painted == colour).all(axis=2).sum()) for name, colour in COLOURS.items()}

    with open(f"{folder}/coco/annotations/panoptic_train.json") as file:
        record = json.load(file)
    names = {category["id"]: category["name"] for category in record["categories"]}
    painted = Image.open(f"{folder}/coco/annotations/panoptic_train/street.png").convert("RGB")
    ids = np.asarray(painted).astype(int) @ [1, 256, 65536]
    pixels, areas = {}, {}
    for segment in record["annotations"][0]["segments_info"]:
        name = names[segment["category_id"]]
        pixels[name], areas[name] = int((ids == segment["id"]).sum()), int(segment["area"])

    judge = ["judge/bin/python", "-W", "ignore", "judge.py", f"{folder}/coco/annotations"]
    quality = json.loads(subprocess.run(judge, check=True, capture_output=True, text=True).stdout)
    return voc, pixels, areas, {name: round(value, 3) for name, value in quality.items()}


person, road = ("person", 40, 20, 60, 85, 1), ("road", 0, 50, 100, 100, 0)
areas, right = {"person": 1300, "road": 5000}, {"person": 1300, "road": 4300}
for folder, name, shapes, expected, perfect in (
    ("first", "person drawn first, road below it", [person, road],
     {"person": 600, "road": 5000}, {"person": 0, "road": 1}),
    ("second", "road drawn first, the same layers", [road, person],
     right, {"person": 1, "road": 0.86}),
):
    voc, pixels, stated, quality = export(folder, [rectangle(*shape) for shape in shapes])
    print(f"{name}:")
    print("  voc_segmentation: " + ", ".join(f"{each} {voc[each]} pixels" for each in NAMES))
    print("  coco_panoptic:    " + ", ".join(
        f"{each} {pixels[each]} pixels (area {stated[each]})" for each in NAMES))
    print("  the panoptic map scored against itself: " + ", ".join(
        f"{each} PQ {quality[each]:.3f}" for each in NAMES))
    assert voc == right, "changed: VOC maps no longer follow z_order"
    assert pixels == expected, "changed: who owns a pixel of a panoptic map"
    assert stated == areas, "changed: the area of a covered segment"
    assert quality == perfect, "changed: what COCO's evaluator makes of such areas"
print("OK: as described")
PY
