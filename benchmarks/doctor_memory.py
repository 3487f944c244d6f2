"""Peak memory of the data doctor at 30,000 and at 300,000 records, each in a process of its own.

``python benchmarks/doctor_memory.py`` generates class folders and COCO
files of one image for a hundred annotations; it takes a few minutes and needs Linux.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

COUNTS = (30_000, 300_000)
SIDE = 32  # pixels
OBJECTS = 100  # annotations of an image
_MEMORY = """
import resource, sys
from van_dense.data.doctor.doctor import check_dataset, ClassPart, CocoPart
kind, root = sys.argv[1:3]
if kind == "classes":
    check_dataset([ClassPart("train", f"{root}/train", None)])
elif kind == "coco":
    check_dataset([CocoPart("train", f"{root}/train", f"{root}/train.json")])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_images(root: Path, number: int, folders: int) -> None:
    """Different pictures, spread over folders; equal ones would be a warning each."""
    header = b"P5 %d %d 255\n" % (SIDE, SIDE)
    for folder in range(folders):
        (root / "train" / f"{folder:03d}").mkdir(parents=True)
    for index in range(number):
        name = root / "train" / f"{index % folders:03d}" / f"{index:07d}.pgm"
        name.write_bytes(header + index.to_bytes(4, "big") * (SIDE * SIDE // 4))


def write_coco(root: Path, count: int) -> None:
    """Images, and the annotation file of their boxes and polygons."""
    number = count // OBJECTS
    write_images(root, number, folders=1)
    images = [
        {"id": i, "file_name": f"000/{i:07d}.pgm", "width": SIDE, "height": SIDE}
        for i in range(number)
    ]
    corners = np.random.default_rng(1).integers(0, SIDE - 8, (count, 2)).tolist()
    annotations = [
        {
            "id": index + 1,
            "image_id": index // OBJECTS,
            "category_id": 1,
            "bbox": [x, y, 8, 8],
            "area": 64,
            "iscrowd": 0,
            "segmentation": [[x, y, x + 8, y, x + 8, y + 8, x, y + 8]],
        }
        for index, (x, y) in enumerate(corners)
    ]
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "thing"}]
    (root / "train.json").write_text(json.dumps(content), encoding="utf-8")


def peak_mb(kind: str, root: Path) -> float:
    """Most memory of a process that checks a folder."""
    command = [sys.executable, "-c", _MEMORY, kind, str(root)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output) * 1024 / 1e6


def main() -> None:
    """Print a table."""
    print(f"{'imports alone':<36}{peak_mb('', Path()):8.0f} MB")
    for kind, what in (("classes", "images in 100 class folders"), ("coco", "annotations of COCO")):
        for count in COUNTS:
            with TemporaryDirectory() as name:
                root = Path(name)
                if kind == "classes":
                    write_images(root, count, folders=100)
                else:
                    write_coco(root, count)
                print(f"{count:>8} {what:<27}{peak_mb(kind, root):8.0f} MB", flush=True)


if __name__ == "__main__":
    main()
