"""Parse one XML file of Pascal VOC.

Source of the format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html.
Corners count pixels from 1, both included. Of an object, its class, box and the mark ``difficult``
are read; parts of an object, its pose, and whether it is truncated or occluded are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from van_dense.core.structures import Size
from van_dense.data.readers.annotated_images import Finding
from van_dense.data.readers.annotation_columns import BoxXYXY
from van_dense.data.readers.foreign import name_of_xml

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no", "", "unspecified")
_MOST_CHANNELS = 4
_FIX = "correct the object, or remove it"


@dataclass(frozen=True)
class VocObject:
    """One object with its corners as they are written, or None where they cannot be used."""

    name: str
    corners: BoxXYXY | None
    difficult: bool = False
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class VocFile:
    """What one file says."""

    named: str = ""  #: path or name of the image, "" where none is stated
    stated: Size = (0, 0)  #: (height, width), (0, 0) where none can be meant
    objects: tuple[VocObject, ...] = ()
    findings: tuple[Finding, ...] = ()


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses what lets an XML file expand to any size, and no annotation needs."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a DOCTYPE, which no annotation needs; remove that line")


def parse_voc(file: str | Path) -> VocFile:
    """Parse a file; where it is none of Pascal VOC, its findings say so."""
    try:
        root = _parse(Path(file).read_bytes())
    except OSError as error:
        return _unreadable(f"it cannot be read ({error.strerror})", "restore it")
    # Of encodings that expat does not know come ValueError and LookupError.
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        return _unreadable(f"it is no sound XML: {error}", "restore it, or save it as UTF-8")
    if root.tag != "annotation":
        foreign = name_of_xml(root)
        kind = f"files of another format ({foreign.name})" if foreign else ""
        what = f"it is {foreign.name}" if foreign else f"its root is <{root.tag}>, not <annotation>"
        return _unreadable(what, foreign.way_in if foreign else "remove it", kind)
    elements = root.findall("object")
    if not elements and root.find(".//bndbox") is not None:
        return _unreadable("its objects do not lie directly below <annotation>", "move them there")
    findings = []
    stated = _size(root.find("size"))
    if stated == (0, 0):
        kind, what = "files without the size of their image", "it does not state the image's size"
        finding = Finding("info", kind, f"{what}; the file's own is taken", "none needed")
        findings.append(finding)
    named = root.findtext("filename") or root.findtext("path") or ""
    return VocFile(named.strip(), stated, tuple(map(_object, elements)), tuple(findings))


def _parse(data: bytes) -> ElementTree.Element:
    root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_NoDoctype()))
    for element in root.iter():  # an XML namespace changes no meaning
        if isinstance(element.tag, str) and element.tag.startswith("{"):
            element.tag = element.tag.rpartition("}")[2]
    return root


def _unreadable(what: str, fix: str, kind: str = "") -> VocFile:
    return VocFile(findings=(Finding("error", kind or "files that cannot be read", what, fix),))


def _size(element: ElementTree.Element | None) -> Size:
    """(height, width), or (0, 0) where one is missing or is the number of channels."""
    if element is None:
        return 0, 0
    sides = [_number(element.findtext(key)) for key in ("height", "width")]
    channels = _number(element.findtext("depth"))
    if any(side is None or side < 1 or side % 1 for side in sides):
        return 0, 0
    height, width = (int(side) for side in sides if side is not None)
    if min(height, width) <= _MOST_CHANNELS and (channels or 0) > _MOST_CHANNELS:
        return 0, 0  # height, width and depth are written in another order
    return height, width


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _object(element: ElementTree.Element) -> VocObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        return _broken(name, "objects without a name", "it has no <name>")
    box = element.find("bndbox")
    if box is None:
        if element.find("robndbox") is not None:
            what = "it has a rotated box (<robndbox> of roLabelImg), which no detector here learns"
            fix = "export upright boxes, or convert it to polygons in COCO JSON"
            return _broken(name, "objects with a rotated box", what, fix)
        return _broken(name, "objects without <bndbox>", "it has no <bndbox>")
    numbers = [_number(box.findtext(key)) for key in _CORNERS]
    if any(number is None for number in numbers):
        texts = {key: (box.findtext(key) or "").strip() for key in _CORNERS}
        what = f"its box is not four numbers: {texts}"
        return _broken(name, "objects whose box is not four numbers", what)
    x1, y1, x2, y2 = (number for number in numbers if number is not None)
    if x1 > x2 or y1 > y2:
        what = f"its box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) ends before it begins"
        fix = "exchange its corners, or are xmax and ymax its width and height? " + _FIX
        return _broken(name, "boxes with the end before the beginning", what, fix)
    if x1 == x2 or y1 == y2:
        what = f"its box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is a point or a line, such as a click"
        return _broken(name, "boxes of no size", what)
    mark = (element.findtext("difficult") or "").strip().lower()
    findings = []
    if mark not in (*_TRUE, *_FALSE):
        what = f"<difficult> is {mark!r}, neither 0 nor 1; it is taken for 0"
        findings.append(Finding("warning", "objects with an unknown mark difficult", what, _FIX))
    if element.find("polygon") is not None:
        what, fix = "its polygon is not read", "none needed for boxes; masks: export COCO JSON"
        kind = "polygons, of which the box alone is read"
        findings.append(Finding("info", kind, what, fix))
    if (turn := _rotation(element)) is not None:
        what = f"its box is turned by {turn:g} and read as an upright one, which is another place"
        kind, fix = "turned boxes, read as upright", "export upright boxes, or polygons"
        findings.append(Finding("warning", kind, what, fix))
    return VocObject(name, (x1, y1, x2, y2), mark in _TRUE, tuple(findings))


def _rotation(element: ElementTree.Element) -> float | None:
    """What CVAT writes of a turned box, or None for an upright one."""
    for attribute in element.iterfind("attributes/attribute"):
        if (attribute.findtext("name") or "").strip() == "rotation":
            return _number(attribute.findtext("value")) or None
    return None


def _broken(name: str, kind: str, what: str, fix: str = _FIX) -> VocObject:
    return VocObject(name, None, findings=(Finding("error", kind, what, fix),))
