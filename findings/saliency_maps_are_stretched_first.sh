#!/usr/bin/env bash
# PySODMetrics stretches every prediction to 0..1 before it measures, so "MAE" is no mean absolute
# error; and on an image without an object the perfect answer gets an adaptive E-measure of 0.
#
# Package:  pysodmetrics 1.6.2.
# Expected: MAE of a map that is 1/255 on the object is near the object's share of the image; faint
#           noise on an empty image costs next to nothing; an all-black map is best where the truth
#           is all black.
# Happens:  step() maps each prediction's minimum to 0 and maximum to 1 unless it is constant, for
#           every metric, MAE too. On a black truth one grey pixel lifts the E-measure from 0 to 1.
# Matters:  saliency numbers cannot see how sure a network is: a map washed out by training or by
#           its 8-bit file scores the same. On images without an object (industrial inspection,
#           camouflage) noise of one percent counts as MAE 0.5, and silence is punished.
# Seen:     object at 1/255, black elsewhere: MAE 0.000 (mean absolute error 0.159)
#           truth black, noise of 0..2 of 255: MAE 0.501 (mean absolute error 0.004)
#           truth black, map black: adaptive E-measure 0.000
#           truth black, one pixel of 1/255: adaptive E-measure 1.000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pysodmetrics==1.6.2 numpy==2.3.4
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import py_sod_metrics

black = np.zeros((100, 100), np.uint8)
truth = black.copy()
truth[30:70, 30:70] = 255
faint = (truth > 0).astype(np.uint8)
noise = np.random.default_rng(0).integers(0, 3, black.shape).astype(np.uint8)
pixel = black.copy()
pixel[0, 0] = 1


def error(name, prediction, target):
    metric = py_sod_metrics.MAE()
    metric.step(pred=prediction, gt=target)
    value = float(metric.get_results()["mae"])
    plain = np.abs(prediction / 255 - target / 255).mean()
    print(f"{name}: MAE {value:.3f} (mean absolute error {plain:.3f})")
    return value


def agreement(name, prediction, target):
    metric = py_sod_metrics.Emeasure()
    metric.step(pred=prediction, gt=target)
    value = float(metric.get_results()["em"]["adp"])
    print(f"{name}: adaptive E-measure {value:.3f}")
    return value


assert error("object at 1/255, black elsewhere", faint, truth) < 0.001, "changed: MAE sees strength"
assert error("truth black, noise of 0..2 of 255", noise, black) > 0.4, "changed: noise stays small"
assert agreement("truth black, map black", black, black) < 0.001, "changed: an empty map is right"
assert agreement("truth black, one pixel of 1/255", pixel, black) > 0.99, "changed: a pixel costs"
PY
