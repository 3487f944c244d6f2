"""An environment for each peer, none of them a dependency of this project.

Torch is that of the interpreter that runs this: its packages are visible behind the peer's own, so
that all compare on the same one and nothing is installed twice.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.environments import ULTRALYTICS, make_environment


@dataclass(frozen=True)
class Peer:
    """A toolkit, or a variant of one: what follows the hyphen of its name is a recipe or a size."""

    title: str
    tasks: tuple[str, ...]  # that it is measured in
    package: str = ""  # on the package index; none = this interpreter has it


PEERS = {
    "ours": Peer("van_dense", ("boxes", "masks", "maps")),
    "ours-gfl_small": Peer("van_dense, GFL", ("boxes",)),
    "torchvision": Peer("torchvision reference, Faster and Mask R-CNN", ("boxes", "masks")),
    "torchvision-320": Peer("torchvision reference at 320 pixels", ("boxes", "masks")),
    "torchvision-retinanet": Peer("torchvision reference, RetinaNet", ("boxes",)),
    "smp": Peer("segmentation-models-pytorch, Unet of its examples", ("maps",)),
    "ultralytics": Peer("ultralytics YOLO11n from YAML", ("boxes", "masks"), ULTRALYTICS),
    "ultralytics-416": Peer("ultralytics YOLO11n at 416 pixels", ("boxes", "masks"), ULTRALYTICS),
    "ultralytics-320": Peer("ultralytics YOLO11n at 320 pixels", ("boxes", "masks"), ULTRALYTICS),
    "autotimm": Peer("AutoTimm, FCOS", ("boxes",), "autotimm==0.7.37"),
    "autotimm-320": Peer("AutoTimm, FCOS at 320 pixels", ("boxes",), "autotimm==0.7.37"),
}


def interpreter(name: str, folder: Path) -> Path:
    """Python of a peer's environment, which is made where it is missing."""
    package = PEERS[name].package
    if not package:
        return Path(sys.executable)
    home = folder / name.partition("-")[0]
    python = home / "bin" / "python"
    done = home / "complete"
    if not done.is_file():
        print(f"making {home} for {package}", flush=True)
        make_environment(home, [package], beside=True)
        done.touch()
    return python
