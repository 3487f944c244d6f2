"""Pascal VOC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from helpers.coco_folder import write_image
from helpers.voc_folder import HEIGHT, WIDTH, voc_object, voc_xml, write_voc
from PIL import Image
from situations.situation import Situation

TITLE = "Pascal VOC"

CAT, DOG = voc_object(), voc_object("dog", (10, 2, 14, 9))
Make = Callable[[Path], None]
FROM_ONE = "corners count pixels from 1, as VOC's own"


def _files(*objects: str, lists: Mapping[str, str] | None = None, **options: Any) -> Make:
    """Three images: a sound cat, then the objects of the situation, then a sound dog."""

    def make(root: Path) -> None:
        files = {"a": voc_xml(CAT), "b": voc_xml(*objects, **options), "c": voc_xml(DOG)}
        write_voc(root / "voc", files, lists)

    return make


def _second(text: bytes) -> Make:
    """Three images; the second file has other bytes."""

    def make(root: Path) -> None:
        _files(CAT)(root)
        (root / "voc/Annotations/b.xml").write_bytes(text)

    return make


def _check(*overrides: str, project: str = "retinanet_van_b0") -> tuple[str, ...]:
    paths = ("data.format=voc", "data.voc.root=voc")
    return ("check", "--config", project, "--quiet", *paths, *overrides)


CHECK = _check()
TOO_MANY = "AP counts the best 100 detections of an image and class, and 1 image holds more objects"


def _beside(root: Path) -> None:
    """Three sound images, and what systems and other programs leave beside them."""
    _files(CAT)(root)
    for name in ("JPEGImages/._a.jpg", "__MACOSX/b.jpg", "JPEGImages/d.xyz"):
        (root / "voc" / name).parent.mkdir(exist_ok=True)
        (root / "voc" / name).write_bytes(b"\0")


def _crowded(root: Path) -> None:
    """A sound training part, and 101 boxes of a class in an image of the validation part."""
    boxes = [(x, y, x + 3, y + 3) for x in range(1, 15) for y in range(1, 9)][:101]
    content = voc_xml(*(voc_object(box=box) for box in boxes))
    files = {"a": voc_xml(CAT), "b": voc_xml(CAT), "c": voc_xml(DOG), "v": content}
    write_voc(root / "voc", files, {"train": "a\nb\nc"})


def _broken(title: str, *objects: str, says: str) -> Situation:
    """A row whose second image has two objects, one of them broken."""
    loses = {"read": "3 images, 3 objects", "objects": 4, "quarantined": "3 images, 3 objects"}
    return Situation(title, _files(DOG, *objects), CHECK, says=(says,), exit_code=1, **loses)  # type: ignore[arg-type]


def _unreadable(title: str, make: Make, *says: str, objects: int = 3) -> Situation:
    """A row whose second file, or its image, is left out as a whole."""
    loses = {"read": "2 images, 2 objects", "quarantined": "2 images, 2 objects"}
    return Situation(title, make, CHECK, says=says, exit_code=1, objects=objects, **loses)  # type: ignore[arg-type]


def _flat(root: Path) -> None:
    for part, seed in (("train", 0), ("valid", 10)):
        for number, name in enumerate("ab"):
            write_image(root / "voc" / part / f"{name}.png", WIDTH, HEIGHT, seed + number)
            text = voc_xml(CAT, DOG, filename=f"{name}_jpg.rf.0123.jpg")
            (root / "voc" / part / f"{name}.xml").write_text(text)


def _subfolders(root: Path) -> None:
    texts = {"day/a": voc_xml(CAT), "night/a": voc_xml(DOG)}
    write_voc(root / "voc", texts)


def _stale_names(root: Path) -> None:
    _files(CAT, filename="C:\\shots\\old name.JPG")(root)


def _by_filename(root: Path) -> None:
    _files(CAT, filename="photo one.png")(root)
    (root / "voc/JPEGImages/b.png").rename(root / "voc/JPEGImages/Photo One.PNG")


def _same_filename(root: Path) -> None:
    files = {
        name: voc_xml(one, filename="a.png")
        for name, one in zip("abc", (CAT, DOG, DOG), strict=True)
    }
    write_voc(root / "voc", files)


def _two_images(root: Path) -> None:
    _files(CAT)(root)
    write_image(root / "voc/JPEGImages/b.bmp", WIDTH, HEIGHT, 9)


def _no_image(root: Path) -> None:
    _files(CAT)(root)
    (root / "voc/JPEGImages/b.png").unlink()


def _no_xml(root: Path) -> None:
    _files(CAT)(root)
    (root / "voc/Annotations/b.xml").unlink()


def _turned(root: Path) -> None:
    wide = [voc_object(name, (15, 2, 20, 9)) for name in ("cat", "dog", "dog")]
    files = {
        stem: voc_xml(one, size=(HEIGHT, WIDTH, 3)) for stem, one in zip("abc", wide, strict=True)
    }
    write_voc(root / "voc", files)


def _other_size(root: Path) -> None:
    _files(CAT, size=(2 * WIDTH, 2 * HEIGHT, 3))(root)


def _no_lists(root: Path) -> None:
    _files(CAT)(root)
    for file in (root / "voc/ImageSets/Main").iterdir():
        file.unlink()


def _segmentation_only(root: Path) -> None:
    (root / "voc/SegmentationClass").mkdir(parents=True)
    Image.new("P", (WIDTH, HEIGHT)).save(root / "voc/SegmentationClass/a.png")
    write_image(root / "voc/JPEGImages/a.png", WIDTH, HEIGHT, 0)


def _cvat(root: Path) -> None:
    _files(CAT)(root)
    for file in (root / "voc/Annotations").iterdir():
        file.write_text(
            '<annotations><version>1.1</version><image id="0" name="a.png"/></annotations>'
        )


def _class_of_val(root: Path) -> None:
    write_voc(root / "voc", {"a": voc_xml(CAT), "b": voc_xml(CAT)})


BOMB = '<!DOCTYPE annotation [<!ENTITY x "cat">]>'

SITUATIONS = [
    Situation("a sound folder with lists", _files(CAT, DOG), CHECK, "3 images, 4 objects",
              (FROM_ONE,), objects=4),
    Situation("a corner at 0", _files(voc_object("cat", (0, 4, 6, 8))), CHECK,
              "3 images, 3 objects", ("corners count from 0", "data.voc.first_pixel=1"),
              objects=3),
    Situation("most corners with fractions", _files(*[voc_object("cat", (3.5, 4, 6.25, y))
              for y in (7, 8, 9, 10, 11)]), CHECK, "3 images, 7 objects",
              ("corners count from 0", "have fractions"), objects=7),
    Situation("a corner at 0, counted from 1 by the config",
              _files(voc_object("cat", (0, 4, 6, 8))), _check("data.voc.first_pixel=1"),
              "3 images, 3 objects", ("corners count pixels from 1",), objects=3),
    Situation("an object marked difficult", _files(CAT, voc_object(more="<difficult>1</difficult>",
              box=(8, 2, 12, 6))), CHECK, "3 images, 1 crowd, 3 objects", ("1 crowd region",),
              objects=3),
    Situation("an object marked difficult, used by the config", _files(CAT, voc_object(
              more="<difficult>1</difficult>", box=(8, 2, 12, 6))),
              _check("data.voc.difficult=use"), "3 images, 4 objects", (FROM_ONE,), objects=4),
    Situation("an object with an unknown mark difficult",
              _files(voc_object(more="<difficult>maybe</difficult>")), CHECK,
              "3 images, 3 objects", ("<difficult> is 'maybe', neither 0 nor 1",), objects=3),
    Situation("truncated and occluded objects with parts that have boxes of their own",
              _files(voc_object(more="<truncated>1</truncated><occluded>1</occluded><part><name>"
              "head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
              "</bndbox></part>")), CHECK, "3 images, 3 objects", (FROM_ONE,), objects=3),
    Situation("an image without an object", _files(), CHECK, "2 images, 2 objects",
              ("1 of 3 images show no object",), objects=2),
    Situation("folders of XML files beside their images, as Roboflow writes them", _flat,
              _check("data.voc.val=valid"), "2 images, 4 objects", (FROM_ONE,), objects=4),
    Situation("a part that is neither a list nor a folder", _flat, CHECK,
              "nothing", ("no part 'val'", "there are train, valid"), exit_code=1, objects=4),
    Situation("no lists at all", _no_lists, CHECK, "nothing",
              ("no part 'train'", 'give "." for the folder itself'), exit_code=1, objects=3),
    Situation("files of one name in two subfolders", _subfolders, CHECK, "2 images, 2 objects",
              (FROM_ONE,), objects=2),
    Situation("a list of one class with marks",
              _files(CAT, lists={"train": "a  1\nb -1\nc  0\n"}), CHECK,
              "3 images, 3 objects", ("train.txt is the list of one class (1 line marked -1",),
              objects=3),
    Situation("a list with paths, suffixes and a byte order mark",
              _files(CAT, lists={"train": "\ufeffJPEGImages/a.png\r\n./b.xml\r\nC"}),
              CHECK, "3 images, 3 objects", (FROM_ONE,), objects=3),
    Situation("a list that names an image twice",
              _files(CAT, lists={"train": "a\nb\na\nc"}), CHECK,
              "3 images, 3 objects", ("1 line repeats an image",), objects=3),
    _unreadable("a list that names an image without XML file", _no_xml,
                "no XML file of this name"),
    Situation("a stated file name that is not there", _stale_names, CHECK, "3 images, 3 objects",
              (FROM_ONE,), objects=3),
    Situation("an image called as its file states it, in other case", _by_filename, CHECK,
              "3 images, 3 objects", (FROM_ONE,), objects=3),
    Situation("files that all state the name of one image", _same_filename, CHECK,
              "3 images, 3 objects", ("<filename> names another image",), objects=3),
    _unreadable("two images of one stem", _two_images, "several images could be meant"),
    _unreadable("an XML file without image", _no_image, "no image is called b"),
    _unreadable("a truncated XML file", _second(b"<annotation><object>"), "no sound XML"),
    _unreadable("an empty XML file", _second(b""), "no sound XML"),
    _unreadable("an XML file in an encoding that it does not state",
                _second(voc_xml(voc_object("\u72d7")).encode("gbk")), "save it as UTF-8"),
    _unreadable("an XML file with a DOCTYPE", _second(voc_xml(CAT, head=BOMB).encode()),
                "it declares a DOCTYPE"),
    _unreadable("an XML file of another kind", _second(b"<recipe/>"), "its root is <recipe>"),
    _unreadable("objects one level too deep", _second(
                voc_xml().replace("</ann", f"<objects>{CAT}</objects></ann").encode()),
                "do not lie directly below"),
    Situation("files of CVAT for images", _cvat, CHECK, "nothing", 
              ("it is CVAT for images", "as COCO 1.0"), exit_code=1, objects=3),
    Situation("no size stated", _files(CAT, size=None), CHECK, "3 images, 3 objects",
              ("1 file without the size of its image",), objects=3),
    Situation("a size of 0", _files(CAT, size=(0, 0, 3)), CHECK, "3 images, 3 objects",
              ("1 file without the size of its image",), objects=3),
    Situation("width, height and depth in another order",
              _files(CAT, size=(3, WIDTH, HEIGHT)), CHECK, "3 images, 3 objects",
              ("1 file without the size of its image",), objects=3),
    Situation("width and height exchanged, as the boxes show", _turned, CHECK,
              "3 images, 3 objects", ("the size of the image is taken",), objects=3),
    _unreadable("the size of another version of the image", _other_size,
                "the annotation belongs to another version"),
    _broken("a box that is a point", voc_object(box=(5, 5, 5, 5)), says="is a point or a line"),
    _broken("a box that ends before it begins", voc_object(box=(9, 4, 6, 8)),
            says="are xmax and ymax its width and height?"),
    _broken("a box outside of the image", voc_object(box=(30, 4, 40, 8)),
            says="shows nothing inside its 20x12 image"),
    _broken("a corner that is no number", voc_object(box=("three", 4, 6, 8)),
            says="its box is not four numbers"),
    _broken("a corner that is missing", voc_object(box=(3, 4, 6)), says="'ymax': ''"),
    _broken("a corner that is NaN", voc_object(box=(3, "nan", 6, 8)), says="not four numbers"),
    _broken("an object without box", voc_object(box=None), says="it has no <bndbox>"),
    _broken("an object without name", voc_object(None), says="it has no <name>"),
    _broken("a rotated box of roLabelImg", voc_object(box=None, more="<robndbox/>"),
            says="a rotated box (<robndbox> of roLabelImg)"),
    Situation("fractions of the sides in place of pixels",
              _files(DOG, voc_object(box=(0.1, 0.2, 0.3, 0.9))), _check("data.voc.first_pixel=0"),
              "3 images, 3 objects", ("are fractions of the sides",), exit_code=1, objects=4,
              quarantined="3 images, 3 objects"),
    Situation("a box that leaves its image", _files(voc_object(box=(15, 4, 26, 8))), CHECK,
              "3 images, 3 objects", ("leaves the 20x12 image by 6 pixels",), objects=3),
    Situation("an object twice", _files(CAT, CAT), CHECK, "3 images, 4 objects",
              ("object 1 has the same class and box",), objects=4),
    Situation("a polygon beside the box, as Roboflow writes it",
              _files(voc_object(more="<polygon><x1>3</x1><y1>4</y1></polygon>")), CHECK,
              "3 images, 3 objects", ("1 polygon",), objects=3),
    Situation("class names that differ in case", _files(voc_object("Cat")), CHECK,
              "3 images, 3 objects", ("'data.voc.rename={cat: Cat}'",), objects=3),
    Situation("class names that differ in case, renamed", _files(voc_object("Cat")),
              _check("data.voc.rename={Cat: cat}"), "3 images, 3 objects", (FROM_ONE,), objects=3),
    Situation("objects of a class that data.voc.classes does not name", _files(CAT),
              _check("data.voc.classes=[cat]"), "2 images, 2 objects",
              ("1 object of other classes (dog)",), objects=3),
    Situation("a class of the validation part that training lacks", _class_of_val, CHECK,
              "nothing", ("its class 'dog' is none of cat",), exit_code=1, objects=2),
    Situation("masks to be learned of VOC's boxes", _files(CAT), _check(project="maskrcnn_van_b0"),
              "nothing", ("the model learns masks",), exit_code=1, objects=3),
    Situation("more objects of a class than AP counts, in VOC", _crowded,
              _check("data.voc.train=train", "data.voc.val=val"),
              "3 images, 3 objects", (TOO_MANY,), objects=3),
    Situation("hidden and foreign files beside those of VOC", _beside, CHECK,
              "3 images, 3 objects",
              ("1 hidden file (JPEGImages/._a.jpg)", "1 image in hidden or system folders",
               "1 file of other kinds (.xyz)"), objects=3),
    Situation("SegmentationClass without Annotations", _segmentation_only,
              _check("data.voc.train=.", "data.voc.val=."), "nothing",
              ("it looks like folders of label maps", "choose a semantic project"), exit_code=1,
              objects=1),
]  # fmt: skip
