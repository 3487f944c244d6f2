#!/usr/bin/env bash
# panoptica gives a perfect prediction a panoptic quality of 0 when the highest label of the truth
# is 255 or 65535, and cuts off pixels whose two labels add up to 256.
#
# Package:  panoptica 2.1.7 with numpy 2.2.6; the counts below are checked by hand with numpy.
# Expected: labels are names. An instance map scored against itself has PQ 1 and every object is
#           counted; numbering the objects in another way, or int64 in place of uint8, changes
#           nothing.
# Happens:  the arrays, int64 too, are cast to the smallest unsigned type that holds the labels, and
#           the sums are done in that type. Highest label + 1 is then 0, with it all pairs of labels
#           collapse. Prediction + truth is 0 too where it is 256, and the first step crops both
#           arrays to where that sum is not 0: whatever lies beyond goes uncounted, without a word.
# Matters:  masks are saved as 0 and 255, and crowded scenes (cells, fruit, crops) have 255 objects
#           now and then: such an image counts 0 in a mean, and its neighbours are right. Objects
#           that the crop takes are neither found nor missed, so nothing looks wrong.
# Seen:     truth against itself, 254 objects: PQ 1.000, counts 254 of 254 objects
#           truth against itself, 255 objects: PQ 0.000, counts 254 of 255 objects
#           truth against itself, 256 objects: PQ 1.000, counts 256 of 256 objects
#           truth against itself, 128 objects: PQ 1.000, counts 127 of 128 objects
#           one object as 254 in both maps:    PQ 1.000
#           one object as 255 in both maps:    PQ 0.000
#           one object as 65535 in both maps:  PQ 0.000
#           truth 0 and 1, prediction 0 and 1:   PQ 0.833 (IoU by hand 0.833)
#           truth 0 and 1, prediction 0 and 255: PQ 0.000 (IoU by hand 0.833)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check panoptica==2.1.7 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import panoptica

panoptica.disable_citation_reminder()


def score(truth, prediction):
    """Return PQ and the number of objects that count as found."""
    run = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        instance_matcher=panoptica.NaiveThresholdMatching(),
        instance_metrics=[panoptica.Metric.IOU], global_metrics=[panoptica.Metric.IOU])
    result = run.evaluate(prediction, truth)["ungrouped"]
    return round(float(result.pq), 3), int(result.tp)


def column(objects):
    """Return a column of rectangles that do not touch, numbered from top to bottom."""
    image = np.zeros((10 * objects, 20), np.int64)
    for place in range(objects):
        image[10 * place + 2:10 * place + 8, 5:15] = place + 1
    return image


def square(label, width=20):
    image = np.zeros((60, 60), np.int64)
    image[20:40, 20:20 + width] = label
    return image


for objects, expected in ((254, (1, 254)), (255, (0, 254)), (256, (1, 256)), (128, (1, 127))):
    truth = column(objects)
    assert len(np.unique(truth)) == objects + 1  # and the background
    seen = score(truth, truth.copy())
    print(f"truth against itself, {objects} objects: PQ {seen[0]:.3f}, "
          f"counts {seen[1]} of {objects} objects")
    assert seen == expected, "changed: what panoptica makes of this number of objects"

for label, expected in ((254, 1), (255, 0), (65535, 0)):
    seen = score(square(label), square(label))[0]
    name = f"one object as {label} in both maps:"
    print(f"{name:34} PQ {seen:.3f}")
    assert seen == expected, "changed: what panoptica makes of this label"

for label, expected in ((1, 0.833), (255, 0)):
    truth, prediction = square(1), square(label, 24)
    by_hand = np.sum((truth > 0) & (prediction > 0)) / np.sum((truth > 0) | (prediction > 0))
    seen = score(truth, prediction)[0]
    name = f"truth 0 and 1, prediction 0 and {label}:"
    print(f"{name:36} PQ {seen:.3f} (IoU by hand {by_hand:.3f})")
    assert seen == expected, "changed: labels that add up to 256"
print("OK: as described")
PY
