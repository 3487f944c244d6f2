"""Name annotation formats that are not read here, and the way in.

What decides is the shape of the content, of which a bounded part is looked at: keys of JSON, the
root of XML, the header of CSV, names of files. Nothing is run or unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from van_dense.core.parse import parse_json

_MOST_BYTES = 64_000_000  # of a JSON file that is parsed to name its format
_HEAD_BYTES = 20_000
_MOST_FILES = 2_000  # of a folder that is looked through


class Foreign(NamedTuple):
    """A format, and what to do to have it read."""

    name: str
    way_in: str

    def __str__(self) -> str:
        return f"it looks like {self.name}: {self.way_in}"


_COCO = "export it as COCO JSON"
_SUPERVISION = "convert it to COCO JSON"
VOC = Foreign("Pascal VOC", "set data.format=voc data.voc.root=FOLDER (van-dense check --voc)")
LABELME = Foreign("labelme", "set data.format=labelme and data.labelme.train, data.labelme.val")
COCO = Foreign("COCO JSON", "give it as data.train.annotations (van-dense check --annotations)")
YOLO = Foreign("a YOLO folder", "set data.format=yolo data.yolo_root=FOLDER, and write a data.yaml")
PANOPTIC = Foreign("panoptic COCO JSON", "choose a panoptic project (van-dense check --panoptic)")
MASKS = Foreign(
    "folders of label maps",
    "choose a semantic project with data.train.masks and a label_map (van-dense check --masks)",
)
CVAT = Foreign("CVAT for images (XML)", "export the task or project again as COCO 1.0")
MIT_LABELME = Foreign("LabelMe of MIT (XML with polygons)", _SUPERVISION)
VIA = Foreign("VGG Image Annotator (VIA)", "in VIA, Annotation, Export Annotations (COCO format)")
LABEL_STUDIO = Foreign("Label Studio JSON", "export the project as COCO, or as Pascal VOC XML")
SUPERVISELY = Foreign("Supervisely", "export the project with the app Export to COCO")
CREATE_ML = Foreign("CreateML JSON", f"{_COCO} or as Pascal VOC where it comes from")
LABELBOX = Foreign("Labelbox", f"{_SUPERVISION} with a converter of the Labelbox SDK")
ISAT = Foreign("ISAT JSON", "in ISAT, Tools, ISAT to COCO")
DATUMARO = Foreign("Datumaro JSON", "datum convert -if datumaro -f coco_instances")
FIFTYONE = Foreign("a FiftyOne data set", "export it as fiftyone.types.COCODetectionDataset")
SCALABEL = Foreign("BDD100K or Scalabel JSON", "python -m scalabel.label.to_coco makes COCO JSON")
CITYSCAPES = Foreign("Cityscapes polygons", "read its label maps with a semantic project")
DARWIN = Foreign("Darwin JSON of V7", "export the data set as COCO")
SUPERANNOTATE = Foreign("SuperAnnotate JSON", f"{_SUPERVISION} with superannotate's export to COCO")
HASTY = Foreign("Hasty JSON", "export the project as COCO")
OPEN_IMAGES = Foreign("Open Images CSV", _SUPERVISION)
TF_CSV = Foreign("a CSV of boxes (TensorFlow, RetinaNet or similar)", _SUPERVISION)
TF_RECORD = Foreign("TFRecord", f"{_COCO} or as Pascal VOC where it comes from")
DOTA = Foreign(
    "DOTA text files with rotated boxes", "convert them to COCO JSON with upright boxes or polygons"
)
KITTI = Foreign("KITTI text files", _SUPERVISION)
MOT = Foreign("MOT tracks (gt.txt)", _SUPERVISION)
SAGEMAKER = Foreign("a manifest of SageMaker Ground Truth", _SUPERVISION)
METADATA = Foreign("an ImageFolder of Hugging Face (metadata.jsonl)", _SUPERVISION)
RESULTS = Foreign("COCO results, which are predictions", "give the ground truth instead")


def way_in(path: str | Path, *, read_as: Foreign | None = None) -> str:
    """The end of a message: "; it looks like CVAT ...: export ...", or nothing.

    Nothing is said of the format that the path is ``read_as``.
    """
    found = recognise(path)
    return "" if found in (None, read_as) else f"; {found}"


def recognise(path: str | Path) -> Foreign | None:
    """Name the format of a file or folder; None where it is not known."""
    path = Path(path)
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except (OSError, ValueError, RecursionError):
        return None


def name_of_json(data: Any) -> Foreign | None:
    """Name the format of parsed JSON; None where it is not known."""
    if isinstance(data, list):
        return _name_of_list(data)
    if not isinstance(data, dict):
        return None
    keys = data.keys()
    for needed, found in _KEYS.items():
        if set(needed) <= keys:
            return found
    info = data.get("info")
    if isinstance(info, dict) and info.get("description") == "ISAT":
        return ISAT
    if {"images", "annotations", "categories"} <= keys:
        first = data["annotations"][:1] if isinstance(data["annotations"], Sequence) else []
        is_panoptic = bool(first) and isinstance(first[0], dict) and "segments_info" in first[0]
        return PANOPTIC if is_panoptic else COCO
    values = list(data.values())[:1]
    if values and isinstance(values[0], dict) and {"filename", "regions"} <= values[0].keys():
        return VIA
    return None


# Keys that all must be there; the first row that fits decides.
_KEYS: Mapping[tuple[str, ...], Foreign] = {
    ("_via_img_metadata",): VIA,
    ("shapes", "imagePath"): LABELME,
    ("imgHeight", "imgWidth", "objects"): CITYSCAPES,
    ("objects", "size"): SUPERVISELY,
    ("info", "categories", "items"): DATUMARO,
    ("label_classes", "images"): HASTY,
    ("metadata", "instances"): SUPERANNOTATE,
    ("item", "annotations"): DARWIN,
    ("data_row", "projects"): LABELBOX,
    ("frames", "config"): SCALABEL,
    ("samples",): FIFTYONE,
    ("source-ref",): SAGEMAKER,
    ("file_name", "objects"): METADATA,
}


def _name_of_list(data: list[Any]) -> Foreign | None:
    if not data or not isinstance(data[0], dict):
        return None
    keys = data[0].keys()
    rows: Mapping[tuple[str, ...], Foreign] = {
        ("image", "annotations"): CREATE_ML,
        ("data", "annotations"): LABEL_STUDIO,
        ("data", "completions"): LABEL_STUDIO,
        ("annotation_id", "annotator"): LABEL_STUDIO,
        ("Label", "Labeled Data"): LABELBOX,
        ("data_row", "projects"): LABELBOX,
        ("name", "labels"): SCALABEL,
        ("image_id", "score"): RESULTS,
    }
    return next((found for needed, found in rows.items() if set(needed) <= keys), None)


def name_of_xml(root: ElementTree.Element) -> Foreign | None:
    """Name the format of parsed XML; None where it is not known."""
    if root.tag == "annotations" and root.find("image") is not None:
        return CVAT
    if root.tag == "annotation":
        return MIT_LABELME if root.find("object/polygon/pt") is not None else VOC
    return None


def _file(path: Path) -> Foreign | None:
    suffix = path.suffix.lower()
    if suffix in (".tfrecord", ".tfrecords", ".record"):
        return TF_RECORD
    if suffix == ".xml":
        return _xml_head(path)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    if suffix in (".ndjson", ".jsonl", ".manifest") or suffix == ".json":
        if suffix == ".json" and path.stat().st_size <= _MOST_BYTES:
            return name_of_json(parse_json(path.read_bytes(), str(path)))
        return name_of_json(parse_json(head.partition("\n")[0], str(path)))
    if suffix == ".csv":
        return _name_of_csv(head.partition("\n")[0].lower())
    return _name_of_text(head) if suffix == ".txt" else None


def _xml_head(path: Path) -> Foreign | None:
    """The format of XML by its first tags; nothing is expanded."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if b"<annotations" in head and b"<image" in head:
        return CVAT
    if b"<annotation" in head:
        return MIT_LABELME if b"<pt>" in head else VOC
    return None


def _name_of_csv(header: str) -> Foreign | None:
    if "region_shape_attributes" in header:
        return VIA
    if "imageid" in header and "labelname" in header:
        return OPEN_IMAGES
    corners = ("xmin" in header or "x_min" in header) and ("xmax" in header or "x_max" in header)
    row = header.split(",")  # RetinaNet's has no header: path,x1,y1,x2,y2,class
    plain = len(row) == 6 and all(_is_number(value) for value in row[1:5])
    return TF_CSV if corners or plain else None


def _name_of_text(head: str) -> Foreign | None:
    lines = [line.split() for line in head.splitlines() if line.strip()]
    if head.startswith("imagesource:"):
        return DOTA
    if not lines:
        return None
    words = lines[0]
    if len(words) in (9, 10) and all(map(_is_number, words[:8])) and not _is_number(words[8]):
        return DOTA
    if len(words) in (15, 16) and not _is_number(words[0]) and all(map(_is_number, words[1:15])):
        return KITTI
    cells = head.strip().partition("\n")[0].split(",")
    return MOT if len(cells) in (9, 10) and all(map(_is_number, cells)) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _folder(path: Path) -> Foreign | None:
    names = {child.name.lower() for child in path.iterdir()}
    if "meta.json" in names and (names & {"ann", "img"} or any(path.glob("*/ann"))):
        return SUPERVISELY
    if "labeltxt" in names:
        return DOTA
    if "jpegimages" in names and "annotations" in names:
        return VOC
    if "segmentationclass" in names or {"images", "masks"} <= names:
        return MASKS
    if {"obj.data", "classes.txt", "obj.names"} & names:
        return YOLO
    seen: dict[str, Path] = {}
    for number, file in enumerate(path.rglob("*")):
        if number > _MOST_FILES:
            break
        if not file.name.startswith(".") and file.is_file():
            seen.setdefault(file.suffix.lower(), file)
    order = (".xml", ".json", ".csv", ".tfrecord", ".record", ".jsonl", ".ndjson", ".txt")
    candidates = (seen[suffix] for suffix in order if suffix in seen)
    return next((found for file in candidates if (found := recognise(file)) is not None), None)
