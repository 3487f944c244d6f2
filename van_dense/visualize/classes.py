"""Image classification on pictures: the best classes as bars, and whether the first one is right.

Legend: C classes.
"""

import numpy as np
from PIL import Image, ImageDraw

from van_dense.core.dataset_info import Color, DatasetInfo
from van_dense.data.readers.class_words import readable_name
from van_dense.visualize.labels import fit_text, font
from van_dense.visualize.palette import INK, PAPER

TOP = 5  # classes that get a bar
RIGHT: Color = (26, 152, 80)
WRONG: Color = (208, 40, 40)
_FOUND: Color = (51, 118, 205)  # the first class where the truth is unknown
_OTHER: Color = (150, 155, 162)
_LONGEST = 64  # letters; a number far away from its name cannot be read
_TRACK: Color = (228, 230, 233)  # of the part of a bar that is empty


def score_bars(
    scores: np.ndarray,
    info: DatasetInfo,
    *,
    width: int,
    letter_size: int,
    indent: int = 0,
    truth: int | None = None,
) -> np.ndarray:
    """Draw the five best classes: name and percentage above a bar each, a uint8 RGB strip.

    The true class is green; the first one is red where it is another. A true class that is not
    among the five follows below them with its place.

    Args:
        scores: Probability of each of C classes, float32 (C,) in [0, 1].
        info: Names of the classes.
        width: Pixels to fill; long names are shortened to it.
        letter_size: Letter height in pixels.
        indent: Free pixels at both sides.
        truth: True 0-based label, where it is known.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    rows = order[:TOP] if truth is None or truth in order[:TOP] else [*order[:TOP], truth]
    words = "".join(info.class_names[label] for label in rows)
    plain, gap = font(letter_size, text=words), letter_size // 2
    line, bar = round(letter_size * 1.3), max(3, letter_size // 3)
    row_height = line + bar + gap
    room = max(1, min(width - 2 * indent, _LONGEST * letter_size))
    picture = Image.new("RGB", (width, len(rows) * row_height + 2 * gap), PAPER)
    pen = ImageDraw.Draw(picture)
    for place, label in enumerate(rows):
        top = gap + place * row_height
        score = float(scores[label])
        color = _color(label, order[0], truth)
        letters = plain if color is _OTHER else font(letter_size, bold=True, text=words)
        number = f" {score:.1%}"
        rank = "" if place < TOP else f"number {order.index(label) + 1}: "
        name = rank + readable_name(info.class_names[label])
        name = fit_text(name, letters, room - plain.getlength(number))
        pen.text((indent, top), name, INK if color is _OTHER else color, letters)
        pen.text((indent + room, top), number, INK, plain, anchor="ra")
        left, low = indent, top + line
        pen.rectangle((left, low, left + room - 1, low + bar - 1), _TRACK)
        filled = round(room * min(max(score, 0.0), 1.0))
        if filled:
            pen.rectangle((left, low, left + filled - 1, low + bar - 1), color)
    return np.array(picture)


def _color(label: int, first: int, truth: int | None) -> Color:
    of_first = _FOUND if truth is None else WRONG
    return RIGHT if label == truth else of_first if label == first else _OTHER
