"""Read and write the PNGs of COCO's panoptic format, whose colours are ids of segments.

A pixel of colour R, G, B belongs to the segment R + 256 G + 65536 B, and 0 is void
(https://cocodataset.org/#format-data). Only 8-bit RGB can say so: a palette, an alpha channel,
grey or 16 bits come from a program that took the file for a picture, and may hold other ids.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.core.segments import LARGEST_ID
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import decode
from van_dense.data.io.masks import save_png
from van_dense.data.io.stored import stored_bits

_ID = np.dtype("<i4")  # R is the lowest of its four bytes, and the highest is unused
_KINDS = {"1": "black and white", "L": "grey", "LA": "grey and alpha", "P": "a palette"}
_KINDS |= {"PA": "a palette and alpha", "RGBA": "RGB and alpha", "I;16": "16-bit grey"}


def read_ids(path: str | Path) -> np.ndarray:
    """Read the segment id of each pixel, int32 (H, W) in 0..2**24-1 with 0 = void.

    Any other file than an 8-bit RGB PNG, or a broken one, is a ReadError with path and reason.
    """
    image = decode(path)
    if image.format != "PNG":
        what = f"{image.format}, where the ids of segments need a PNG"
        raise ReadError(f"{path}: {what}; export panoptic maps as 8-bit RGB PNG")
    kind = _KINDS.get(image.mode, image.mode)
    if image.mode == "RGB" and "transparency" in image.info:
        kind = "RGB with a transparent colour"
    elif image.mode == "RGB":
        bits = stored_bits(path)
        kind = "RGB" if bits == 8 else f"{bits}-bit RGB"
    if kind != "RGB":
        what = f"a PNG of {kind}, where the ids of segments need 8-bit RGB"
        fix = "save R + 256 G + 65536 B = id as RGB, without palette and alpha"
        raise ReadError(f"{path}: {what}; {fix}")
    words = np.frombuffer(image.tobytes("raw", "RGBX"), dtype=_ID)  # no copy of each channel
    return (words & LARGEST_ID).astype(np.int32, copy=False).reshape(image.size[::-1])


def write_ids(path: str | Path, ids: np.ndarray) -> None:
    """Write segment ids, integers (H, W) in 0..2**24-1, as an 8-bit RGB PNG.

    The folder is made if missing; ids out of range are a ValueError.
    """
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high > LARGEST_ID:
        what = f"segment ids from {low} to {high}; a PNG holds 0 to {LARGEST_ID}"
        raise ValueError(f"{path}: {what}, number the segments from 1")
    words = np.ascontiguousarray(ids, dtype=_ID)
    height, width = ids.shape
    image = Image.frombytes("RGB", (width, height), words, "raw", "RGBX")
    save_png(path, image)
