"""What the colours of a map mean: strips of swatches and names, or a scale, on paper."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from van_dense.core.dataset_info import Color, DatasetInfo
from van_dense.core.plain_text import one_line
from van_dense.core.structures import IGNORE_LABEL
from van_dense.visualize.labels import font
from van_dense.visualize.palette import CROWD, INK, PAPER, class_colors
from van_dense.visualize.strokes import stripes

MAX_ENTRIES = 24  # classes that a legend lists; more are counted
_MAX_NAME = 24  # letters; ADE20K has names with five synonyms


@dataclass(frozen=True)
class Entry:
    """One line of a legend."""

    text: str  # name of the colour, a single line
    color: Color | None = None  # colour of the swatch; None for a line without one
    hatched: bool = False  # whether the swatch is striped like ignored pixels


def class_entries(
    info: DatasetInfo, areas: np.ndarray, values: np.ndarray, *, ignored: str = "ignored"
) -> list[Entry]:
    """Make up to 26 lines of a legend of classes: swatch, name and a percentage.

    Args:
        info: Class names and colours.
        areas: Area of each of the 256 labels, (256,); classes without any are left out, the largest
            comes first, and from the 25th on they are only counted.
        values: Numbers to print in percent, (256,) in 0..1; nothing for NaN.
        ignored: Name of the pixels of label 255.
    """
    order = np.argsort(-areas[:IGNORE_LABEL], kind="stable").tolist()
    classes = [label for label in order if areas[label] > 0]
    colors = class_colors(info)

    def text(name: str, label: int) -> str:
        return name if np.isnan(values[label]) else f"{name} {values[label]:.1%}"

    names = {label: short_name(info.class_names[label]) for label in classes[:MAX_ENTRIES]}
    entries = [Entry(text(name, label), colors[label]) for label, name in names.items()]
    if areas[IGNORE_LABEL] > 0:
        entries.append(Entry(text(ignored, IGNORE_LABEL), CROWD, hatched=True))
    if len(classes) > MAX_ENTRIES:
        entries.append(Entry(f"and {len(classes) - MAX_ENTRIES} more"))
    return entries


def legend(entries: Sequence[Entry], width: int, letter_size: int, *, indent: int) -> np.ndarray:
    """Lay out entries in even columns, read row by row, as a uint8 RGB strip (height, width, 3).

    Args:
        entries: Lines of the legend, at least one.
        width: Pixels to fill; where not even one column fits, the legend is wider.
        letter_size: Letter height in pixels.
        indent: Free pixels at the left.
    """
    letters = font(letter_size, text="".join(entry.text for entry in entries))
    line, gap = round(letter_size * 1.6), letter_size // 2
    longest = max(round(letters.getlength(entry.text)) for entry in entries)
    column = letter_size + gap + longest + 2 * gap  # swatch, gap, text, space to the next
    columns = max(1, (width - indent) // column)
    rows = -(-len(entries) // columns)
    picture = Image.new("RGB", (max(width, indent + column), rows * line + gap), PAPER)
    pen = ImageDraw.Draw(picture)
    for position, entry in enumerate(entries):
        x, y = indent + position % columns * column, gap // 2 + position // columns * line
        if entry.color is not None:
            swatch = np.full((letter_size, letter_size, 3), entry.color, dtype=np.uint8)
            if entry.hatched:
                swatch[stripes(swatch.shape[:2], max(2, letter_size // 5)) == 0] = PAPER
            picture.paste(Image.fromarray(swatch), (x, y + (line - letter_size) // 2))
            x += letter_size + gap
        pen.text((x, y + line // 2), entry.text, INK, letters, anchor="lm")
    return np.array(picture)


def saliency_scale(
    width: int,
    letter_size: int,
    *,
    indent: int,
    words: tuple[str, str] = ("not salient 0", "1 salient"),
) -> np.ndarray:
    """Draw the colours from 0 to 1 as a slim bar between two words, a uint8 RGB strip.

    Args:
        width: Pixels to fill; a bar too short for that is wider.
        letter_size: Letter height in pixels.
        indent: Free pixels at the left.
        words: Meaning of 0 and of 1.
    """
    letters = font(letter_size)
    gap, height = letter_size // 2, 2 * letter_size
    left = indent + round(letters.getlength(words[0])) + gap
    room = width - left - round(letters.getlength(words[1])) - 2 * gap
    length = min(max(room, 4 * letter_size), 20 * letter_size)
    picture = Image.new("RGB", (max(width, width - room + length), height), PAPER)
    ramp = np.linspace(0, 255, length).astype(np.uint8)[None].repeat(letter_size * 2 // 3, axis=0)
    picture.paste(Image.fromarray(heat(ramp)), (left, (height - len(ramp)) // 2))
    pen = ImageDraw.Draw(picture)
    pen.text((indent, height // 2), words[0], INK, letters, anchor="lm")
    pen.text((left + length + gap, height // 2), words[1], INK, letters, anchor="lm")
    return np.array(picture)


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Put uint8 RGB pictures below each other, filled up at the right to the widest."""
    width = max(picture.shape[1] for picture in pictures)
    page = np.full((sum(map(len, pictures)), width, 3), PAPER, np.uint8)
    top = 0
    for picture in pictures:
        page[top : top + len(picture), : picture.shape[1]] = picture
        top += len(picture)
    return page


def short_name(name: str) -> str:
    """Class name of at most 24 letters, in one line."""
    name = one_line(name)
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1].rstrip(" ,") + "…"


def heat(values: np.ndarray) -> np.ndarray:
    """Colours of uint8 (H, W) values, whose steps look equally large (inferno)."""
    return cv2.cvtColor(cv2.applyColorMap(values, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
