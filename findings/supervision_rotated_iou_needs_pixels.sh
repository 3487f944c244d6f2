#!/usr/bin/env bash
# The overlap of two rotated boxes in normalised coordinates is exact without OpenCV, and wrong as
# soon as OpenCV is installed.
#
# Package:  supervision 0.31.2 and opencv-python-headless 4.13.0.92; shapely 2.2.0 is the judge.
# Expected: an overlap has no unit, so normalised corners (YOLO's files of rotated boxes) give the
#           IoU of the same boxes in pixels. The function promises that magnitudes do not matter,
#           and the package advises to install the optional OpenCV.
# Happens:  where OpenCV is there, oriented_box_iou_batch() asks cv2.intersectConvexConvex, whose
#           tolerances are fixed lengths: harmless in pixels, but as large as the offset of two
#           detections of one vehicle when an image of 4000 pixels has the length 1.
# Matters:  matching, AP and NMS of aerial images are wrong box by box and without a warning, and
#           depend on a package that nobody thinks of: every pair below overlaps by 0.76 or more.
# Seen:     OpenCV no,  pixels:            worst error 0.000, 0.0 % off by 0.1, NMS keeps 1000
#           OpenCV no,  normalised:        worst error 0.000, 0.0 % off by 0.1, NMS keeps 1000
#           OpenCV yes, pixels:            worst error 0.000, 0.0 % off by 0.1, NMS keeps 1000
#           OpenCV yes, normalised:        worst error 0.986, 41.4 % off by 0.1, NMS keeps 1284
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
install() { "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install supervision==0.31.2 shapely==2.2.0 numpy==2.4.6
cat > "$work/measure.py" <<'PY'
import sys

import numpy as np
import supervision as sv
from shapely.geometry import Polygon


def corners(x, y, width, height, angle):
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return half @ turn + [x, y]


def exact(a, b):
    return Polygon(a).intersection(Polygon(b)).area / Polygon(a).union(Polygon(b)).area


random = np.random.default_rng(0)
boxes = []  # one object in each cell of an image of 4000 x 4000 pixels, found twice
for index in range(1000):
    x, y = 60 + 120 * (index % 32), 60 + 120 * (index // 32)
    width, height, angle = *random.uniform(20, 80, 2), random.uniform(0, 3)
    shift_x, shift_y, turn = random.normal(0, [1, 1, 0.05])
    boxes.append([corners(x, y, width, height, angle),
                  corners(x + shift_x, y + shift_y, width, height, angle + turn)])
boxes = np.array(boxes)
true = np.array([exact(a, b) for a, b in boxes])
assert true.min() > 0.76
with_opencv = sys.argv[1] == "yes"
for name, side in (("pixels:            ", 1), ("normalised:        ", 4000)):
    scaled = boxes / side
    seen = np.array([sv.oriented_box_iou_batch(a[None], b[None])[0, 0] for a, b in scaled])
    error = np.abs(seen - true)
    scored = np.zeros((2000, 5))
    scored[:, 4] = np.linspace(0.9, 0.1, 2000)
    kept = sv.oriented_box_non_max_suppression(scored, scaled.reshape(-1, 4, 2)).sum()
    print(f"OpenCV {sys.argv[1] + ',':4} {name}worst error {error.max():.3f}, "
          f"{100 * (error > 0.1).mean():.1f} % off by 0.1, NMS keeps {kept}")
    if with_opencv and side > 1:
        assert error.max() > 0.9 and kept > 1200, "changed: OpenCV no longer spoils the overlap"
    else:
        assert error.max() < 1e-4 and kept == 1000, "changed: the overlap is no longer exact here"
PY
"$work/venv/bin/python" -W ignore "$work/measure.py" no
install opencv-python-headless==4.13.0.92
"$work/venv/bin/python" -W ignore "$work/measure.py" yes
