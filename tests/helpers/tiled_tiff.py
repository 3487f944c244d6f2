"""Tiled TIFFs of generated pixels, which Pillow does not write."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from van_dense.data.io.tiled_map import write_directory

SHORT, LONG = (3, "H"), (16, "Q")


def write_tiled(path: Path, image: np.ndarray, tile: tuple[int, int] = (32, 48)) -> Path:
    """Write uint8 (H, W, 3) as a BigTIFF of Deflate tiles of (height, width)."""
    height, width = image.shape[:2]
    offsets, lengths = [], []
    with path.open("wb") as file:
        file.write(bytes(16))
        for top in range(0, height, tile[0]):
            for left in range(0, width, tile[1]):
                padded = np.zeros((*tile, 3), np.uint8)
                part = image[top : top + tile[0], left : left + tile[1]]
                padded[: part.shape[0], : part.shape[1]] = part
                data = zlib.compress(padded.tobytes())
                offsets.append(file.tell())
                lengths.append(len(data))
                file.write(data)
        tags = {256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [8, 8, 8])}
        tags |= {tag: (SHORT, [value]) for tag, value in {259: 8, 262: 2, 277: 3, 284: 1}.items()}
        tags |= {322: (SHORT, [tile[1]]), 323: (SHORT, [tile[0]])}
        tags |= {324: (LONG, offsets), 325: (LONG, lengths)}
        write_directory(file, tags)
    return path
