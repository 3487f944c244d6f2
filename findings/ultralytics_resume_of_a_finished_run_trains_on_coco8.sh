#!/usr/bin/env bash
# The line that resumes a training of ultralytics starts another one, on other data, once the
# training is finished.
#
# Packages: ultralytics 8.4.190, torch 2.14.1, torchvision 0.29.1, on the CPU (7 GB of disk).
# Expected: YOLO("last.pt").train(resume=True) of a finished training says that there is nothing to
#           do. So it does for the moment between the last checkpoint and the end ("is finished,
#           nothing to resume", an AssertionError).
# Happens:  the end of a training takes optimiser and epoch out of last.pt. From then on the same
#           line warns and trains anew: not on the data of the checkpoint, which it holds, but on
#           coco8.yaml, which it downloads, with its 80 classes and the default of 100 epochs.
# Matters:  jobs that a cluster ends and puts into its queue again start with this one line until
#           they are done. Where one more start comes than was needed, the job does not end with an
#           error: it spends its hours on a detector of other classes, in a new folder beside.
# Seen:     after epoch 1 of 2: resumes, data scenes.yaml, epochs 2
#           after the end: starts anew, data coco8.yaml, epochs 100
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    ultralytics==8.4.190 torch==2.14.1 torchvision==0.29.1
cd "$work"
export YOLO_CONFIG_DIR="$work/settings" YOLO_OFFLINE=true CUDA_VISIBLE_DEVICES=
"$work/venv/bin/python" -W ignore - <<'PY'
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics import YOLO
from ultralytics.utils import DEFAULT_CFG_DICT

random = np.random.default_rng(0)
for part in ("train", "val"):
    images, labels = Path("images", part), Path("labels", part)
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number in range(4):
        pixels = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        pixels[16:48, 16:48] = 200
        Image.fromarray(pixels).save(images / f"{number}.png")
        (labels / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
Path("scenes.yaml").write_text(
    f"path: {Path.cwd()}\ntrain: images/train\nval: images/val\nnames: {{0: square}}\n"
)


class Recorder:
    """Stands in for the trainer, and keeps what it is asked to do."""

    def __init__(self, overrides, _callbacks):
        self.wanted = overrides
        raise InterruptedError(self)


def asked_for(checkpoint):
    """What ``resume=True`` wants a trainer to do."""
    model = YOLO(checkpoint)
    try:
        model.train(resume=True, trainer=Recorder)
        return "does nothing", "", 0
    except InterruptedError as end:
        wanted = end.args[0].wanted
    except (AssertionError, ValueError) as error:
        return f"refuses: {error}", "", 0
    is_resumed = bool(wanted["resume"])  # then a trainer takes the settings of the checkpoint
    others = model.ckpt["train_args"] if is_resumed else DEFAULT_CFG_DICT
    epochs = wanted.get("epochs", others["epochs"])
    return "resumes" if is_resumed else "starts anew", Path(wanted["data"]).name, epochs


model = YOLO("yolo11n.yaml")
model.add_callback(  # as a kill would leave it
    "on_model_save", lambda trainer: trainer.epoch or shutil.copy(trainer.last, "half.pt")
)
model.train(
    data="scenes.yaml", epochs=2, imgsz=64, batch=2, workers=0, device="cpu", plots=False,
    project=str(Path.cwd()), name="run", verbose=False,
)
seen = {"after epoch 1 of 2": asked_for("half.pt"), "after the end": asked_for("run/weights/last.pt")}
for when, (what, data, epochs) in seen.items():
    print(f"{when}: {what}, data {data}, epochs {epochs}")
if seen["after epoch 1 of 2"] != ("resumes", "scenes.yaml", 2):
    raise SystemExit("a training that was cut off is no longer resumed as it was")
if seen["after the end"] != ("starts anew", "coco8.yaml", 100):
    raise SystemExit("changed: resuming a finished training no longer starts one on coco8.yaml")
PY
