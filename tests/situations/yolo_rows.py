"""YOLO folders."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.coco_folder import write_image
from helpers.yolo_folder import BOX, POLYGON, Labels, write_data, write_part, write_sound
from PIL import Image
from situations.situation import Situation

TITLE = "YOLO folders"

DOG = "1 0.25 0.5 0.3 0.4"
RECTANGLE = "0 0.1 0.25 0.5 0.25 0.5 0.75 0.1 0.75"
PIXELS = "0 10 6 10 6"
POSE = "0 0.5 0.5 0.5 0.5 0.4 0.4 2 0.6 0.6 1 0.5 0.5 0"
# Five joints of two numbers, in a box around them.
POSES_2D = [
    f"0 {x} 0.5 0.4 0.4 " + f"{x} 0.5 " * 3 + f"{x - 0.19} 0.31 {x + 0.19} 0.69"
    for x in (0.3, 0.4, 0.5, 0.6)
]
# Objects in the corners: other conventions leave the image when they are read as centre and size.
CORNERS = [
    (0.02, 0.03, 0.3, 0.4),
    (0.7, 0.05, 0.98, 0.5),
    (0.05, 0.6, 0.4, 0.97),
    (0.6, 0.7, 0.95, 0.99),
]
XYXY = "\n".join(f"0 {a} {b} {c} {d}" for a, b, c, d in CORNERS)
XYWH = "\n".join(f"0 {a} {b} {c - a:.3f} {d - b:.3f}" for a, b, c, d in CORNERS)


def _files(labels: Labels, *, val: str = BOX, **options: Any) -> Callable[[Path], None]:
    """A training part of these labels; options that ``write_part`` lacks go to the data file."""
    places = {
        key: options.pop(key)
        for key in ("images", "texts", "suffix", "text_suffix")
        if key in options
    }

    def make(root: Path) -> None:
        write_part(root, labels, **places)
        write_sound(root, val)
        write_data(root, **{"train": places.get("images", "images/train"), **options})

    return make


def _lines(*lines: str, val: str = BOX, **options: Any) -> Callable[[Path], None]:
    """Two training images: the first has some lines, the second a sound one."""
    return _files({"a": "\n".join(lines) + "\n", "b": val}, val=val, **options)


def _then(make: Callable[[Path], None], change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Files that are changed after they were made."""

    def both(root: Path) -> None:
        make(root)
        change(root)

    return both


def _check(project: str, root: str = ".") -> tuple[str, ...]:
    return ("check", "--config", project, "--quiet", "data.format=yolo", f"data.yolo_root={root}")


BOXES, MASKS = _check("retinanet_van_b0"), _check("maskrcnn_van_b0")
_TWO = _files({"a": BOX, "b": BOX})


def _listed(*lines: str) -> Callable[[Path], None]:
    """The training part is a text file of paths."""
    make = _files({"a b": BOX, "c": BOX})
    text = "\r\n".join(lines) + "\r\n"

    def change(root: Path) -> None:
        write_data(root, train="train.txt")
        (root / "train.txt").write_text(text, encoding="utf-8")

    return _then(make, change)


def _darknet(root: Path) -> None:
    """What CVAT exports as YOLO 1.1."""
    for part, seed in (("train", 0), ("valid", 10)):
        folder = f"obj_{part}_data"
        write_part(root, {"a": f"{BOX}\n{DOG}"}, images=folder, texts=folder, seed=seed)
        (root / f"{part}.txt").write_text(f"data/{folder}/a.png\n")
    (root / "obj.names").write_text("cat\ndog\n")
    entries = "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\n"
    (root / "obj.data").write_text(f"{entries}names = data/obj.names\nbackup = backup/\n")


def _label_studio(root: Path) -> None:
    write_part(root, {"a": BOX}, images="images", texts="labels")
    (root / "classes.txt").write_bytes(codecs.BOM_UTF8 + b"cat\ndog\n")


def _turned_tiff(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("images/train/a.tif", "images/val/v.tif"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (12, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, exif=exif)  # 12 wide and 20 high, as it is shown
        text = root / name.replace("images", "labels").replace(".tif", ".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(BOX)
    write_data(root)


def _bad(title: str, line: str, words: str, **options: Any) -> Situation:
    """One broken line beside two sound ones, which quarantine leaves."""
    return Situation(
        title,
        _lines(BOX, line, **options),
        BOXES,
        "2 images, 2 objects",
        (words,),
        exit_code=1,
        objects=3,
        quarantined="2 images, 2 objects",
    )


def _refused(title: str, make: Callable[[Path], None], *words: str, **options: Any) -> Situation:
    return Situation(title, make, options.get("command", BOXES), "nothing", words, exit_code=1)


_LAYOUTS = [
    Situation("sound boxes", _TWO, BOXES, "2 images, 2 objects", objects=2),
    Situation(
        "sound polygons",
        _lines(RECTANGLE, POLYGON, val=POLYGON),
        MASKS,
        "2 images, 3 objects",
        objects=3,
    ),
    Situation(
        "label files beside the images, in a folder called images",
        _then(
            _files({"a": BOX, "b": BOX}, texts="images/train"),
            lambda root: (root / "labels/val/v.txt").rename(root / "images/val/v.txt"),
        ),
        BOXES,
        "2 images, 2 objects",
        ("label files are read from images/train: none lies in labels/train",),
        objects=2,
    ),
    Situation(
        "images in a folder of another name, labels in the folder labels",
        _files({"a": BOX, "b": BOX}, images="photos/train"),
        BOXES,
        "2 images, 2 objects",
        ("label files are read from labels/train",),
        objects=2,
    ),
    Situation(
        "a label file beside its image, the others in the folder labels",
        _then(_TWO, lambda root: (root / "labels/train/b.txt").rename(root / "images/train/b.txt")),
        BOXES,
        "1 image, 1 object",
        ("1 image without a label file, and with a .txt beside it", "images/train/b.txt"),
        objects=2,
    ),
    Situation(
        "an image without a label file",
        _files({"a": BOX, "b": None}),
        BOXES,
        "1 image, 1 object",
        ("1 image has no label file", "labels/train/b.txt"),
    ),
    Situation(
        "a label file without an image",
        _then(_TWO, lambda root: (root / "images/train/b.png").unlink()),
        BOXES,
        "1 image, 1 object",
        ("1 label file has no image: labels/train/b.txt",),
        objects=2,
    ),
    Situation(
        "two images with one label file",
        _then(_TWO, lambda root: write_image(root / "images/train/a.jpg", 20, 12, 7)),
        BOXES,
        "3 images, 3 objects",
        ("1 label file belongs to several images each, such as labels/train/a.txt",),
    ),
    Situation(
        "label files that end in .TXT",
        _files({"a": BOX, "b": BOX}, text_suffix=".TXT"),
        BOXES,
        "2 images, 2 objects",
        ("2 label files are spelled otherwise than their images: a.TXT of a.png",),
        objects=2,
    ),
    Situation(
        "label files with %20 for the blanks of their images",
        _then(
            _files({"a b": BOX, "c": BOX}),
            lambda root: (root / "labels/train/a b.txt").rename(root / "labels/train/a%20b.txt"),
        ),
        BOXES,
        "2 images, 2 objects",
        ("a%20b.txt of a b.png",),
        objects=2,
    ),
    Situation(
        "accents that a Mac took apart in the names of images",
        _then(
            _files({unicodedata.normalize("NFC", "cafe\u0301"): BOX, "c": BOX}),
            lambda root: (root / "images/train/caf\u00e9.png").rename(
                root / "images/train/cafe\u0301.png"
            ),
        ),
        BOXES,
        "2 images, 2 objects",
        ("1 label file is spelled otherwise",),
        objects=2,
    ),
    Situation(
        "images that end in .JPG, .jfif, .jpe, .webp, .jp2, .avif and .ppm",
        _then(
            _TWO,
            lambda root: [
                (
                    write_image(root / f"images/train/x{number}{suffix}", 20, 12, 20 + number),
                    (root / f"labels/train/x{number}.txt").write_text(BOX),
                )
                for number, suffix in enumerate(
                    (".JPG", ".jfif", ".jpe", ".webp", ".jp2", ".avif", ".ppm")
                )
            ],
        ),
        BOXES,
        "9 images, 9 objects",
        objects=9,
    ),
    Situation(
        "camera raws beside the images",
        _then(_TWO, lambda root: (root / "images/train/a.nef").write_bytes(b"raw")),
        BOXES,
        "2 images, 2 objects",
        ("left out: 1 file of other kinds (.nef)",),
    ),
    Situation(
        "hidden copies of a Mac, and thumbnails of a network drive",
        _then(
            _TWO,
            lambda root: [
                (root / "images/train/._a.png").write_bytes(b"\0"),
                write_image(root / "images/train/@eaDir/b.png", 4, 4, 5),
                write_image(root / "images/train/.ipynb_checkpoints/a.png", 4, 4, 6),
            ],
        ),
        BOXES,
        "2 images, 2 objects",
        ("1 hidden file (._a.png), 2 images in hidden or system folders",),
    ),
    Situation(
        "a linked folder that leads back to where it lies",
        _then(_TWO, lambda root: (root / "images/train/again").symlink_to(root / "images")),
        BOXES,
        "2 images, 2 objects",
        ("1 linked folder read already or leading nowhere (again)",),
        objects=2,
    ),
    _refused(
        "label files of Pascal VOC in the folder labels",
        _files({"a": BOX, "b": BOX}, text_suffix=".xml"),
        "none of 2 images has a label file",
        "that folder holds 2 .xml files",
    ),
    Situation(
        "a TIFF that is stored sideways, with an orientation tag",
        _turned_tiff,
        BOXES,
        "1 image, 1 object",
        objects=1,
    ),
    Situation(
        "an image that is cut off",
        _then(
            _TWO,
            lambda root: (root / "images/train/a.png").write_bytes(
                (root / "images/train/a.png").read_bytes()[:-40]
            ),
        ),
        BOXES,
        "1 image, 1 object",
        ("broken image",),
        exit_code=1,
        quarantined="1 image, 1 object",
    ),
]

_DATA_FILES = [
    Situation(
        "a data file called pets.yaml",
        _then(_TWO, lambda root: (root / "data.yaml").rename(root / "pets.yaml")),
        BOXES,
        "2 images, 2 objects",
        objects=2,
    ),
    Situation(
        "the data file itself in place of its folder",
        _then(_TWO, lambda root: (root / "data.yaml").rename(root / "pets.yaml")),
        _check("retinanet_van_b0", "pets.yaml"),
        "2 images, 2 objects",
        objects=2,
    ),
    _refused(
        "two data files",
        _then(
            _TWO,
            lambda root: [write_data(root, "x.yaml"), (root / "data.yaml").rename(root / "y.yaml")],
        ),
        "2 data files: x.yaml, y.yaml; name one of them, as data.yolo_root=./x.yaml",
    ),
    Situation(
        "Darknet's obj.data, as CVAT exports it",
        _darknet,
        BOXES,
        "1 image, 2 objects",
        ("does not exist as it is written",),
        objects=2,
    ),
    _refused(
        "images, labels and classes.txt alone, as Label Studio exports them",
        _label_studio,
        "no data.yaml beside classes.txt",
        "names: [cat, dog]",
    ),
    Situation(
        "a byte order mark in data.yaml",
        _then(
            _TWO,
            lambda root: (root / "data.yaml").write_bytes(
                codecs.BOM_UTF8 + (root / "data.yaml").read_bytes()
            ),
        ),
        BOXES,
        "2 images, 2 objects",
        objects=2,
    ),
    Situation(
        "names of classes by number, with gaps",
        _lines("7 0.5 0.5 0.5 0.5", names={0: "cat", 7: "dog"}, nc=8),
        BOXES,
        "2 images, 2 objects",
        objects=2,
    ),
    Situation(
        "classes called no and yes",
        _then(
            _TWO,
            lambda root: (root / "data.yaml").write_text(
                "train: images/train\nval: images/val\nnames: [no, yes]\n"
            ),
        ),
        BOXES,
        "2 images, 2 objects",
        objects=2,
    ),
    _refused(
        "nc that is not the number of names",
        _lines(BOX, nc=3),
        "'nc' is 3, but there are 2 names",
    ),
    Situation(
        "the validation part called valid",
        _then(
            _TWO,
            lambda root: (root / "data.yaml").write_text(
                "train: images/train\nvalid: images/val\nnames: [cat, dog]\n"
            ),
        ),
        BOXES,
        "2 images, 2 objects",
        objects=2,
    ),
    Situation(
        "a list of images with backslashes",
        _listed("images\\train\\a b.png", ".\\images\\train\\c.png"),
        BOXES,
        "2 images, 2 objects",
        ("2 of 2 paths are not where they are written",),
        objects=2,
    ),
    Situation(
        "a list of images of another machine",
        _listed("C:\\Users\\me\\pets\\images\\train\\a b.png", "/home/me/images/train/c.png"),
        BOXES,
        "2 images, 2 objects",
        ("2 of 2 paths are not where they are written",),
        objects=2,
    ),
    Situation(
        "a list of images with %20, some twice",
        _listed("images/train/a%20b.png", "images/train/c.png", "images/train/c.png"),
        BOXES,
        "2 images, 2 objects",
        ("'train' lists 1 image again",),
        objects=2,
    ),
    Situation(
        "a list of images of which one is gone",
        _listed("images/train/a b.png", "images/train/gone.png"),
        BOXES,
        "1 image, 1 object",
        ("no such file",),
        exit_code=1,
        quarantined="1 image, 1 object",
    ),
]

_LINES = [
    Situation(
        "a byte order mark in label files",
        _files({"a": codecs.BOM_UTF8 + f"{BOX}\n{DOG}\n".encode(), "b": BOX}),
        BOXES,
        "2 images, 3 objects",
        objects=3,
    ),
    Situation(
        "label files in UTF-16, as PowerShell writes them",
        _files({"a": f"{BOX}\r\n{DOG}\r\n".encode("utf-16"), "b": BOX}),
        BOXES,
        "2 images, 3 objects",
        objects=3,
    ),
    Situation(
        "lines that end as on Windows, and empty ones",
        _files({"a": f"{BOX}\r\n\r\n{DOG}\r\n", "b": BOX}),
        BOXES,
        "2 images, 3 objects",
        objects=3,
    ),
    Situation(
        "the same object on two lines",
        _lines(BOX, BOX),
        BOXES,
        "2 images, 3 objects",
        ("the same object as another line",),
        objects=3,
    ),
    Situation(
        "the name of a class in place of its number",
        _lines(BOX, "dog 0.5 0.5 0.2 0.2"),
        BOXES,
        "2 images, 3 objects",
        ("the name of a class in place of its number",),
        objects=3,
    ),
    Situation(
        "a box that reaches beyond its image",
        _lines(BOX, "1 0.9 0.5 0.5 0.2"),
        BOXES,
        "2 images, 3 objects",
        ("reaches beyond its image, where it is cut",),
        objects=3,
    ),
    Situation(
        "boxes and polygons, for a detector of boxes",
        _lines(BOX, RECTANGLE),
        BOXES,
        "2 images, 3 objects",
        objects=3,
    ),
    Situation(
        "boxes and polygons, for a detector of masks",
        _lines(BOX, RECTANGLE, val=POLYGON),
        MASKS,
        "2 images, 2 objects",
        ("a box where other lines have polygons",),
        exit_code=1,
        objects=3,
        quarantined="2 images, 2 objects",
    ),
    Situation(
        "a polygon without area",
        _lines(RECTANGLE, "0 0.1 0.1 0.5 0.5 0.9 0.9", val=POLYGON),
        MASKS,
        "2 images, 2 objects",
        ("a polygon without area",),
        exit_code=1,
        objects=3,
        quarantined="2 images, 2 objects",
    ),
    Situation(
        "four points on every line, as oriented boxes have",
        _lines(RECTANGLE, RECTANGLE.replace("0.5", "0.4"), val=RECTANGLE),
        MASKS,
        "2 images, 3 objects",
        ("oriented boxes (OBB) look so, and polygons do",),
        objects=3,
    ),
    _bad("a line with a confidence", "1 0.5 0.5 0.2 0.2 0.87", "predictions saved with save_conf"),
    _bad("a line with a tracker's number", "1 0.5 0.5 0.2 0.2 14", "as a tracker's or an angle"),
    _bad(
        "a line with a confidence and a tracker's number",
        "1 0.5 0.5 0.2 0.2 0.87 14",
        "a box, a confidence and the number of a tracker",
    ),
    _bad("a line with joints", POSE, "a box and 3 joints, as poses have"),
    _bad(
        "joints of another count than kpt_shape says",
        POSE,
        "13 numbers where kpt_shape asks for 4 of a box and 51",
        kpt_shape=[17, 3],
    ),
    _bad("a line of pixels", PIXELS, "pixels, where fractions of the image's sides belong"),
    _bad("a name that is no class", "cow 0.5 0.5 0.2 0.2", "no class is called 'cow'"),
    _bad("a number that is no class", "2 0.5 0.5 0.2 0.2", "a class that does not exist (0..1 do)"),
    _bad("a class with a fraction", "0.5 0.5 0.5 0.2 0.2", "a class that is not a whole number"),
    _bad("a box with NaN", "0 0.5 0.5 nan 0.2", "coordinates outside 0..1"),
    _bad("a box beyond its image", "0 1.5 0.5 0.2 0.2", "coordinates outside 0..1"),
    _bad("a box without width", "0 0.5 0.5 0 0.2", "no box of positive size"),
    _bad("a line that is cut off", "0 0.5 0.5 0.2", "3 numbers, neither 4 numbers of a box"),
    _bad("an odd number of coordinates", f"{RECTANGLE} 0.3", "9 numbers, neither 4"),
    _bad("commas between the numbers", "0,0.5,0.5,0.2,0.2", "commas where spaces and points"),
    _bad("decimal commas", "0 0,5 0,5 0,2 0,2", "commas where spaces and points"),
    _bad("a line of DOTA", "1 1 9 1 9 9 1 9 plane 0", "DOTA's format"),
    _bad("a line of KITTI", "Car 0.0 0 1.5 1 1 9 9 1.5 1.6 3.9 1.8 1.5 8.4 1.6", "KITTI's format"),
    _bad("null characters in a line", "0 0.5 \0\0\0", "null characters"),
    Situation(
        "a label file of null characters",
        _files({"a": b"\0" * 64, "b": BOX}),
        BOXES,
        "1 image, 1 object",
        ("nothing but null characters",),
        exit_code=1,
        quarantined="1 image, 1 object",
    ),
    Situation(
        "a label file that is no text",
        _files({"a": b"0 0.5 \xe9\x80", "b": BOX}),
        BOXES,
        "1 image, 1 object",
        ("an unreadable file",),
        exit_code=1,
        quarantined="1 image, 1 object",
    ),
    _refused(
        "predictions saved with save_conf in place of labels",
        _files({"a": f"{BOX} 0.91", "b": f"{DOG} 0.5"}),
        "predictions saved with save_conf",
    ),
    Situation(
        "poses, with kpt_shape",
        _lines(POSE, val=POSE, kpt_shape=[3, 3]),
        BOXES,
        "2 images, 2 objects",
        ("their boxes are read, and no joints",),
        objects=2,
    ),
    _refused(
        "poses of two numbers for each joint, without kpt_shape",
        _lines(*POSES_2D, val=POSES_2D[0]),
        "poses, not polygons",
        "write kpt_shape: [5, 2] into the data file",
    ),
    _refused(
        "boxes as two corners",
        _lines(XYXY, val="0 0.1 0.1 0.9 0.8"),
        "inside as x1 y1 x2 y2, two corners",
    ),
    _refused("boxes as a corner and a size", _lines(XYWH), "from the upper left corner"),
    _refused(
        "classes that are counted from 1",
        _lines("1 0.5 0.5 0.2 0.2", "2 0.3 0.3 0.2 0.2", val=DOG),
        "if they are counted from 1, write names: {1: cat, 2: dog}",
    ),
]

SITUATIONS = [*_LAYOUTS, *_DATA_FILES, *_LINES]
