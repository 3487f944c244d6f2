"""What does each toolkit say when data are broken? One fault at a time, in twelve images.

broken.py --set bccd --who ours torchvision ultralytics autotimm-320 --data datasets --out FILE.json

A training of some seconds reads every image. What counts is whether the run goes on or ends, and
whether a line of its output names the image of the fault. What is in --out is not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not
from benchmarks.peers.environments import PEERS
from benchmarks.peers.launch import start
from benchmarks.peers.run import build_parser, job_of, load, save
from benchmarks.peers.sets import SETS, Set

IMAGES = {"train": 12, "val": 2}
CPU_SECONDS = 40.0  # at most, of each training
STEPS = 6  # of two images at least: each is read once
_NOISE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


class Small:
    """A copy of the first images of a set, whose last training image is to be broken."""

    def __init__(self, data: Set, source: Path, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.data, self.folder = data, folder / data.folder
        for part, count in IMAGES.items():
            images = Path(data.images(source)[part])
            names = sorted(path.name for path in images.iterdir() if path.is_file())[:count]
            for key, place in self.places(source, part).items():
                target = self.places(folder, part)[key]
                target.mkdir(parents=True, exist_ok=True)
                for name in names:
                    file = name if key == "images" else Path(name).stem + SUFFIX[key]
                    shutil.copy(place / file, target / file)
            if data.task != "maps":
                self._annotations(source / data.folder / f"{part}.json", set(names))
        if data.task != "maps":
            text = (source / data.folder / "data.yaml").read_text()
            path = f"path: {self.folder.resolve()}"
            (self.folder / "data.yaml").write_text(re.sub(r"path: .*", path, text))
        self.image = sorted(Path(data.images(folder)["train"]).iterdir())[-1]

    def places(self, root: Path, part: str) -> dict[str, Path]:
        """Folders of the files of a part."""
        places = {"images": Path(self.data.images(root)[part])}
        if self.data.task == "maps":
            return {**places, "masks": Path(self.data.masks(root)[part])}
        return {**places, "labels": root / self.data.folder / "labels" / part}

    def _annotations(self, file: Path, names: set[str]) -> None:
        coco = json.loads(file.read_text())
        coco["images"] = [image for image in coco["images"] if image["file_name"] in names]
        ids = {image["id"] for image in coco["images"]}
        coco["annotations"] = [e for e in coco["annotations"] if e["image_id"] in ids]
        (self.folder / file.name).write_text(json.dumps(coco))

    def change(self, entry: Callable[[dict[str, Any]], None] | None, line: str | None) -> None:
        """Change the first annotation of the image, or leave none with None."""
        file = self.folder / "train.json"
        coco = json.loads(file.read_text())
        (id_,) = (i["id"] for i in coco["images"] if i["file_name"] == self.image.name)
        own = [e for e in coco["annotations"] if e["image_id"] == id_]
        if entry is None:
            coco["annotations"] = [e for e in coco["annotations"] if e["image_id"] != id_]
        else:
            entry(own[0])
        file.write_text(json.dumps(coco))
        label = self.folder / "labels" / "train" / f"{self.image.stem}.txt"
        rest = label.read_text().splitlines()[1:]
        label.write_text("" if line is None else "\n".join([line, *rest]) + "\n")


SUFFIX = {"masks": ".png", "labels": ".txt"}


def missing_image(small: Small) -> None:
    """The file is gone."""
    small.image.unlink()


def truncated_image(small: Small) -> None:
    """The second half of the file is gone."""
    content = small.image.read_bytes()
    small.image.write_bytes(content[: len(content) // 2])


def box_outside(small: Small) -> None:
    """A box lies right of the image."""
    small.change(lambda e: e.update(bbox=[9000.0, 10.0, 50.0, 50.0]), "0 9.5 0.5 0.1 0.1")


def unknown_class(small: Small) -> None:
    """A box of class 99."""
    small.change(lambda e: e.update(category_id=99), "99 0.5 0.5 0.1 0.1")


def no_objects(small: Small) -> None:
    """An image without any object, which is sound."""
    small.change(None, None)


def missing_mask(small: Small) -> None:
    """The label map is gone."""
    _mask(small).unlink()


def mask_of_another_size(small: Small) -> None:
    """The label map has half the size of the image."""
    from PIL import Image

    mask = Image.open(_mask(small))
    mask.resize((mask.width // 2, mask.height // 2), Image.Resampling.NEAREST).save(_mask(small))


def _mask(small: Small) -> Path:
    return Path(small.folder / "masks" / "train" / f"{small.image.stem}.png")


FAULTS: dict[str, tuple[Callable[[Small], None], ...]] = {
    "boxes": (missing_image, truncated_image, box_outside, unknown_class, no_objects),
    "maps": (missing_image, truncated_image, missing_mask, mask_of_another_size),
}


def main() -> int:
    """Run each toolkit on each fault, and write what it said."""
    parser = build_parser(__doc__)
    names = sorted({fault.__name__ for faults in FAULTS.values() for fault in faults})
    parser.add_argument("--faults", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    data, source = SETS[arguments.set], arguments.data
    for name in arguments.who:
        if data.task not in PEERS[name].tasks:
            continue
        for fault in FAULTS["maps" if data.task == "maps" else "boxes"]:
            key = f"{name}/{fault.__name__}"
            if fault.__name__ not in arguments.faults or key in load(arguments.out)["broken"]:
                continue
            folder = (arguments.work / "broken" / f"{name}_{fault.__name__}").resolve()
            small = Small(data, source, folder / "data")
            fault(small)
            found = outcome(arguments, name, folder, small)
            save(arguments.out, "broken", key, found)
            print(f"{key}: {found}", flush=True)
            shutil.rmtree(folder)
    return 0


def outcome(arguments: argparse.Namespace, name: str, folder: Path, small: Small) -> dict[str, Any]:
    """Exit code, whether a line names the image, and that line or the last one."""
    out = folder / "run"
    out.mkdir(parents=True)
    arguments.data = folder / "data"
    code = start(job_of(arguments, name, 0, STEPS, out, CPU_SECONDS), arguments.envs)
    lines = [_NOISE.sub("", line).strip() for line in (out / "log.txt").read_text().splitlines()]
    naming = [line for line in lines if small.image.stem in line]
    said = [*naming, *[line for line in lines if line][-1:]][0] if code or naming else ""
    shown = re.sub(r"(?:/[^/\s'\"]+)+/", "", said)[:300]
    return {"ends": code != 0, "names_the_image": bool(naming), "says": shown}


if __name__ == "__main__":
    sys.exit(main())
