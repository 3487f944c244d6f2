"""Masks decoded where they are: an RLE inside its own rectangle, at the cost of the object.

Legend: h, w are pixels of the rectangle.
"""

from __future__ import annotations

import numpy as np

from van_dense.structures import RLE


def decode_crop(rle: RLE) -> tuple[int, int, np.ndarray]:
    """Decode a compressed RLE inside the smallest rectangle that holds its pixels.

    The cost follows the object instead of the image: 100 masks of a 4K image take 0.35 s with
    pycocotools, which always decodes the whole image.

    Returns:
        x and y of the rectangle in the image, and the mask in it, uint8 {0, 1} (h, w);
        an empty array for an empty mask.
    """
    height = rle["size"][0]
    edges = np.cumsum(_run_lengths(rle["counts"]))
    starts, ends = edges[:-1:2], edges[1::2]  # runs of ones start where runs of zeros end
    starts, ends = starts[ends > starts], ends[ends > starts]
    if len(starts) == 0:
        return 0, 0, np.zeros((0, 0), dtype=np.uint8)
    x0, x1 = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    columns = np.zeros((x1 - x0) * height, dtype=np.uint8)
    for start, end in zip(starts - x0 * height, ends - x0 * height, strict=True):
        columns[start:end] = 1
    mask = columns.reshape(x1 - x0, height).T
    rows = np.flatnonzero(mask.any(axis=1))
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    return x0, y0, np.ascontiguousarray(mask[y0:y1])


def _run_lengths(counts: bytes) -> np.ndarray:
    """Unpack the run lengths of a COCO RLE, zeros first, int64.

    Format (rleFrString in cocoapi/common/maskApi.c): each number is written in groups of 5 bits,
    low bits first, one printable character 48 + group a time; bit 32 marks that more follow, bit
    16 of the last group is the sign. From the fourth number on, differences to the number two
    before are stored.
    """
    groups = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    last = (groups & 32) == 0
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(np.append(first, len(groups)))
    position = np.arange(len(groups)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((groups & 31) << (5 * position), first)
    negative = (groups[last] & 16) != 0
    numbers[negative] -= np.int64(1) << (5 * lengths[negative])
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
