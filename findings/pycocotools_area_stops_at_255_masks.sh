#!/usr/bin/env bash
# pycocotools.mask.area takes at most 255 masks at once beside NumPy 2; its neighbours take any.
#
# Package:  pycocotools 2.0.11, beside numpy 2.3.4 and 1.26.4
# Expected: area, toBbox and iou of one list of masks take lists of any length, as they did.
# Happens:  beside NumPy 2 area of 256 masks is an OverflowError, "Python integer 256 out of bounds
#           for uint8"; toBbox and iou of the same list are right. Beside NumPy 1.26 all are right.
# Matters:  one image of cells, cars seen from above or text holds more; code that measures the
#           areas of an image at once works on every benchmark and fails on such data, with words
#           about bytes. One call for each mask, or for 255 of them, goes round it.
# Seen:     numpy 2.3.4   255 masks 16, 256 masks OverflowError, toBbox (256, 4), iou (256, 1)
#           numpy 1.26.4  255 masks 16, 256 masks 16, toBbox (256, 4), iou (256, 1)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/areas.py" <<'PY'
import numpy as np
from pycocotools import mask as masks

square = masks.encode(np.asfortranarray(np.ones((4, 4), dtype=np.uint8)))


def area(number):
    try:
        found = {int(one) for one in masks.area([square] * number)}
    except OverflowError:
        return "OverflowError"
    return str(*found)


many = [square] * 256
shapes = masks.toBbox(many).shape, masks.iou(many, [square], [0]).shape
print(f"numpy {np.__version__:7} 255 masks {area(255)}, 256 masks {area(256)},"
      f" toBbox {shapes[0]}, iou {shapes[1]}")
assert area(255) == "16" and shapes == ((256, 4), (256, 1)), "changed: fewer masks, or neighbours"
expected = "OverflowError" if np.__version__.startswith("2") else "16"
assert area(256) == expected, "changed: areas of more than 255 masks"
PY
for numpy in 2.3.4 1.26.4; do
    python3 -m venv "$work/$numpy"
    "$work/$numpy/bin/pip" install --quiet --disable-pip-version-check \
        pycocotools==2.0.11 "numpy==$numpy"
    (cd "$work" && "$work/$numpy/bin/python" -W ignore areas.py)
done
