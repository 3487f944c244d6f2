#!/usr/bin/env bash
# Feature maps of Inception v3 are not where their stated reduction puts them: the border is lost.
#
# Package:  timm 1.0.31, torch 2.14.1, on the CPU (6 GB of disk).
# Expected: feature_info says reduction 4, 8, 16 and 32, so that a map of an image of 96x160 has
#           ceil(96 / r) x ceil(160 / r) positions, and position i stands for pixels from i * r on,
#           as for ResNet; detectors place their anchors so.
# Happens:  convolutions without padding cut the border. The maps have 20x36, 9x17, 4x8 and 1x3
#           positions in place of 24x40, 12x20, 6x10 and 3x5: the last one covers the middle of the
#           image alone. Inception v4, Inception-ResNet v2 and the old Xception do the same, and PiT
#           (strides 8, 16, 32) loses a row and a column.
# Matters:  everything placed by the stride is moved towards the top left, small objects at the
#           border have no position at all, and nothing raises.
# Seen:     reduction  2: 45x77 positions, ceil gives 48x80
#           reduction  4: 20x36 positions, ceil gives 24x40
#           reduction  8: 9x17 positions, ceil gives 12x20
#           reduction 16: 4x8 positions, ceil gives 6x10
#           reduction 32: 1x3 positions, ceil gives 3x5
#           resnet18 has what ceil gives: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.14.1 torchvision==0.29.1 timm==1.0.31
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import math

import timm
import torch


def sides(name):
    """Stated reduction, found and expected (height, width) of each map of an image of 96x160."""
    model = timm.create_model(name, features_only=True).eval()
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 96, 160))
    for reduction, found in zip(model.feature_info.reduction(), maps, strict=True):
        yield reduction, tuple(found.shape[2:]), tuple(math.ceil(n / reduction) for n in (96, 160))


found = list(sides("inception_v3"))
for reduction, (rows, columns), (all_rows, all_columns) in found:
    print(f"reduction {reduction:2}: {rows}x{columns} positions, ceil gives {all_rows}x{all_columns}")
is_as_stated = all(shape == wanted for _, shape, wanted in sides("resnet18"))
print(f"resnet18 has what ceil gives: {is_as_stated}")

maps = [shape for _, shape, _ in found]
assert maps == [(45, 77), (20, 36), (9, 17), (4, 8), (1, 3)], "changed: maps of Inception v3"
assert is_as_stated, "changed: maps of ResNet"
PY
