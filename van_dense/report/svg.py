"""SVG that lives inside a page: its colours and font are those of the page, in light and dark.

Matplotlib writes fixed colours. Here each role of a colour, such as that of axes, is drawn in a
colour of its own that nothing else has, and this is replaced by a variable of the page's style.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from van_dense.core.plain_text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours by role: what is drawn -> variable of the page, and its value where there is no page.
INK, MUTED, RULE, PAPER, ACCENT = "#010203", "#010204", "#010205", "#010206", "#010207"
SERIES = tuple(f"#0103{number:02x}" for number in range(1, 9))
_ROLES = {
    INK: "var(--ink, #1b1f24)",
    MUTED: "var(--muted, #59636e)",
    RULE: "var(--rule, #d1d9e0)",
    PAPER: "var(--paper, #ffffff)",
    ACCENT: "var(--accent, #0b5cad)",
    **{color: f"var(--series-{i}, #0b5cad)" for i, color in enumerate(SERIES, 1)},
}
FONT_SIZE = 12.5  # CSS pixels, which are the points of a figure here
MAX_NAME = 28  # letters
WIDE = 560.0  # CSS pixels; what is wider stands alone in its row
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "van_dense",
    "text.parse_math": False,
    "font.size": FONT_SIZE,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": FONT_SIZE - 1,
    "ytick.labelsize": FONT_SIZE - 1,
    "grid.color": RULE,
    "grid.linewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": FONT_SIZE,
    "lines.solid_capstyle": "round",
}


def short(name: str, limit: int = MAX_NAME) -> str:
    """A name of at most ``limit`` letters, in one line."""
    name = one_line(name)
    return name if len(name) <= limit else name[: limit - 1].rstrip(" ,") + "…"


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure in the style of the page.

    Args:
        width: Width of the figure in CSS pixels.
        height: Height of the figure in CSS pixels.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE), warnings.catch_warnings():
        # The browser has the glyphs that the font of matplotlib lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def svg_of(figure: Figure, *, least: float) -> str:
    """The figure as an element ``svg``, to be called inside of ``drawing``.

    Args:
        figure: What was drawn.
        least: Width in CSS pixels down to which it may shrink with the page; what is narrower than
            that shows a part of it, and scrolls.
    """
    file = io.StringIO()
    keys = ("Date", "Creator", "Format", "Type")
    figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(keys))
    root = ElementTree.fromstring(file.getvalue())
    _clean(root)
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "width": f"{width:.0f}",
        "height": f"{height:.0f}",
        "style": f"min-width:{least:.0f}px",
        "stroke-linejoin": "round",
        **({"class": "wide"} if width > WIDE else {}),
    }
    prefix = f"p{hashlib.sha256(ElementTree.tostring(root)).hexdigest()[:8]}-"
    for element in root.iter():  # several drawings of a page share no ids
        for name, value in element.attrib.items():
            value = f"{prefix}{value}" if name == "id" else value
            element.attrib[name] = re.sub(r"^#|(?<=url\()#", f"#{prefix}", value)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(root: ElementTree.Element) -> None:
    """Remove what a page does not need, in place: namespaces, metadata, unused ids, fonts."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                element.remove(child)
        attributes = {name.rpartition("}")[2]: text for name, text in element.attrib.items()}
        if "style" in attributes:
            attributes["style"] = _style(attributes["style"])
        if "d" in attributes:
            attributes["d"] = _rounded(" ".join(attributes["d"].split()))
        element.attrib = attributes
        if element.text is not None and not element.text.strip():
            element.text = None
        element.tail = None
    used = set(re.findall(r"#([\w-]+)", " ".join(_values(root))))
    for element in root.iter():
        if element.attrib.get("id") not in used:
            element.attrib.pop("id", None)


def _values(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        yield from (text for name, text in element.attrib.items() if name != "id")


def _style(style: str) -> str:
    """Style of an element, the colours and font those of the page."""
    style = re.sub(r"font: (?:[a-z]+ )*([\d.]+px)[^;]*", r"font-size: \1", style)
    style = re.sub(r"font-family: [^;]*;?\s*", "", style)
    for color, variable in _ROLES.items():
        style = style.replace(color, variable)
    return re.sub(r"\s*([:;])\s*", r"\1", style)


def _rounded(path: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), path)
