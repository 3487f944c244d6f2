#!/usr/bin/env bash
# Whether torchvision's batched_nms suppresses a box depends on the number of its class, on the
# largest coordinate of the image, and on how many other boxes there are.
#
# Package:  torchvision 0.29.1 with torch 2.14.1, on the CPU (the pair takes 6 GB of disk).
# Expected: classes are names, "NMS will not be applied between elements of different categories":
#           a class keeps the same boxes whatever its number is and whatever else was found.
# Happens:  up to 1,000 boxes (25,000 on a GPU) all classes go through one NMS, moved apart by label
#           x (largest coordinate + 1) in float32. Class 1202 of an image of 4096 pixels lies 4.9
#           million pixels away, where float32 has steps of half a pixel: sides and IoU are rounded.
#           Above that many boxes each class is suppressed alone, which is right.
# Matters:  all detectors built on it (torchvision's, Detectron2's) treat the last classes of a list
#           otherwise than the first, already for the 80 of COCO: reordering the classes changes the
#           detections, and so do unrelated boxes elsewhere in the image. Small objects in large
#           images suffer most.
# Seen:     IoU of the pair 0.543, threshold 0.5:
#             class 0: 1 box left; class 79: 1; class 1202: 2; class 1202 beside 1,100 others: 1
#           1,000 boxes on 50 small objects, 4096 pixels, one class, 100 images:
#             class 0 unlike float64 in 0 images, class 79 in 50, class 1202 in 100
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import torch
from torchvision.ops import batched_nms, box_iou, nms

pair = torch.tensor([[723.6, 2444.4, 734.2, 2473.4], [726.8, 2442.7, 735.3, 2470.1]])
corner = torch.tensor([[4000.0, 4000.0, 4095.0, 4095.0]])  # of the next class


def left_of_the_pair(label, others=0):
    far = torch.rand(others, 2, generator=torch.Generator().manual_seed(0)) * 500
    boxes = torch.cat([pair, corner, torch.cat([far, far + 9], dim=1)])
    labels = torch.tensor([label, label, label + 1] + [0] * others)
    scores = torch.linspace(0.9, 0.1, len(boxes))
    kept = batched_nms(boxes, scores, labels, 0.5)
    return int((kept < 2).sum())


counts = [left_of_the_pair(label) for label in (0, 79, 1202)]
counts.append(left_of_the_pair(1202, others=1100))
print(f"IoU of the pair {float(box_iou(pair[:1], pair[1:])):.3f}, threshold 0.5:")
print("  class 0: {} box left; class 79: {}; class 1202: {}; class 1202 beside 1,100 others: {}"
      .format(*counts))

different = dict.fromkeys((0, 79, 1202), 0)
for seed in range(100):
    random = torch.Generator().manual_seed(seed)
    sides = 8 + 24 * torch.rand(50, 1, 2, generator=random)
    noise = torch.randn(50, 20, 4, generator=random) * 0.12
    centres = 4000 * torch.rand(50, 1, 2, generator=random) + 48 + sides * noise[..., :2]
    sides = sides * noise[..., 2:].exp()
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=2).reshape(-1, 4)
    scores = torch.rand(len(boxes), generator=random)
    right = nms(boxes.double(), scores.double(), 0.5).tolist()
    for label in different:
        kept = batched_nms(boxes, scores, torch.full((len(boxes),), label), 0.5)
        different[label] += kept.tolist() != right
print("1,000 boxes on 50 small objects, 4096 pixels, one class, 100 images:")
print("  class 0 unlike float64 in {} images, class 79 in {}, class 1202 in {}"
      .format(*different.values()))
assert counts == [1, 1, 2, 1], "changed: the pair is suppressed for every class"
assert different[0] < different[79] < different[1202], "changed: all classes are treated alike"
PY
