"""What the scripts of this folder share: tiny scenes, a digest of weights, and their verbs.

No package of this toolkit is needed: each script runs in the environment of its program, which has
PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SIZE = 64  # pixels
CLASSES = ("background", "dark", "bright")  # of rectangles
Verb = Callable[[Path], Any]


def serve(verbs: Mapping[str, Verb]) -> None:
    """Do what the command line says: a verb, and the run folder from the working folder.

    ``start`` and ``resume`` train to the end. ``result`` gives the digest of the final weights, the
    log and the metrics, ``about`` the settings and what tells a checkpoint; both as JSON.
    """
    verb, run = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "runs/run")
    value = verbs[verb](run.absolute())
    if value is not None:
        print(json.dumps(value))


def mark() -> None:
    """Tell the harness that the first step comes next."""
    Path("began").touch()


def digest(tensors: Mapping[str, Any]) -> str:
    """SHA-256 of the names and bytes of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def scenes(part: str) -> Path:
    """A folder of pictures with rectangles, their label maps, and the boxes as YOLO writes them."""
    root = Path("scenes").absolute()
    folder = root / "images" / part
    if (root / f"{part}.done").exists():
        return folder
    random = np.random.default_rng(part == "val")
    for name in ("images", "maps", "labels"):
        (root / name / part).mkdir(parents=True, exist_ok=True)
    for number in range(24 if part == "train" else 8):
        image = random.integers(90, 130, (SIZE, SIZE, 3), dtype=np.uint8)
        labels, lines = np.zeros((SIZE, SIZE), np.uint8), []
        for _ in range(int(random.integers(1, 4))):
            width, height = random.integers(12, 30, 2)
            x, y = random.integers(0, SIZE - width), random.integers(0, SIZE - height)
            label = int(random.integers(1, 3))
            image[y : y + height, x : x + width] = (40, 220)[label - 1]
            labels[y : y + height, x : x + width] = label
            box = np.array([x + width / 2, y + height / 2, width, height]) / SIZE
            lines.append(f"{label - 1} " + " ".join(f"{value:.5f}" for value in box))
        Image.fromarray(image).save(folder / f"{number:03}.png")
        Image.fromarray(labels).save(root / "maps" / part / f"{number:03}.png")
        (root / "labels" / part / f"{number:03}.txt").write_text("\n".join(lines))
    (root / f"{part}.done").touch()
    return folder


class Scenes(torch.utils.data.Dataset):
    """Pixels (3, 64, 64) float32 about 0, and labels (64, 64) int64; training flips at random."""

    def __init__(self, part: str, length: int) -> None:
        self._part, self._length = part, length
        scenes(part)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        path = sorted(scenes(self._part).glob("*.png"))[index]
        maps = path.parents[2] / "maps" / self._part
        labels = torch.from_numpy(np.array(Image.open(maps / path.name), np.int64))
        image = np.asarray(Image.open(path), np.float32).transpose(2, 0, 1)
        pixels = torch.from_numpy(image / 127.5 - 1)
        if self._part == "train" and torch.rand(()) < 0.5:
            pixels, labels = pixels.flip(-1), labels.flip(-1)
        return pixels, labels
