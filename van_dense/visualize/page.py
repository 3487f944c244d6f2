"""Pages of pictures beside each other, below a title and a caption each."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from van_dense.core.dataset_info import Color
from van_dense.core.plain_text import one_line
from van_dense.core.structures import Prediction, Sample
from van_dense.visualize.labels import fit_text, font
from van_dense.visualize.palette import INK, PAPER

WIDTH = 2608  # pixels of the widest page: two panels of 1280, or three of 848
MARGIN = 16
CAPTION = 16  # letter height
_TITLE = 20
_FAINT: Color = (110, 110, 110)


class Panel(NamedTuple):
    """A picture below its caption."""

    caption: str
    picture: np.ndarray
    color: Color = _FAINT  # of the caption


def draw_page(panels: Sequence[Panel], title: str) -> np.ndarray:
    """Put panels side by side below the title, cut at its left, and their captions."""
    letters = font(CAPTION, text="".join(panel.caption for panel in panels))
    columns = [max(p.picture.shape[1], round(letters.getlength(p.caption))) for p in panels]
    title_line, caption_line = round(_TITLE * 1.5), round(CAPTION * 1.7)
    top = MARGIN + title_line + caption_line
    page_width = MARGIN + sum(column + MARGIN for column in columns)
    height = max(len(panel.picture) for panel in panels)
    page = np.full((top + height + MARGIN, page_width, 3), PAPER, np.uint8)
    left = [MARGIN + sum(columns[:i]) + i * MARGIN for i in range(len(panels))]
    for x, panel in zip(left, panels, strict=True):
        page[top : top + len(panel.picture), x : x + panel.picture.shape[1]] = panel.picture

    picture = Image.fromarray(page)
    pen = ImageDraw.Draw(picture)
    large = font(_TITLE, bold=True, text=title)
    shown = fit_text(title, large, page_width - 2 * MARGIN, keep_end=True)
    pen.text((MARGIN, MARGIN // 2), shown, INK, large)
    for x, panel in zip(left, panels, strict=True):
        pen.text((x, MARGIN // 2 + title_line), one_line(panel.caption), panel.color, letters)
    return np.array(picture)


def title_of(sample: Sample) -> str:
    """File name and id, or the id alone where it says both."""
    name, image_id = Path(sample.path).name, str(sample.image_id)
    return image_id if image_id.endswith(name) else f"{name}  (id {image_id})"


def file_name(image_id: int | str) -> str:
    """Name of a file for an image, whose id may be a relative path."""
    return re.sub(r"[^\w.-]+", "_", str(image_id))


def unscored(truth: Prediction) -> Prediction:
    """Ground truth without the scores of its instances, as it is drawn."""
    if truth.instances is None:
        return truth
    return replace(truth, instances=replace(truth.instances, scores=None))


def write_page(path: Path, picture: np.ndarray) -> Path:
    """Write a PNG, making its folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, compress_level=3)
    return path
