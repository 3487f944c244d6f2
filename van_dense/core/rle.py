"""COCO's run-length encoded masks, read, moved and decoded at the cost of the object.

A mask is a list of runs down its columns, column after column; an interval is one run of ones.
Source of the format: ``common/maskApi.c`` of pycocotools (``rleToString``, ``rleFrString``).
Legend: R runs of one mask, I intervals; h, w are pixels of a rectangle; sizes are (height, width).
"""

from collections.abc import Sequence

import numpy as np

from van_dense.core.structures import RLE, Size

_MOST_DIGITS = 7  # of five bits: more than any run of an image needs


def run_lengths(counts: bytes) -> np.ndarray:
    """Lengths int64 (R,) of alternating runs of zeros and ones, of a sound compressed RLE.

    A number is a sequence of six-bit characters, lowest first: five bits of it, and one that says
    whether more follow; from the fourth on it is a difference to the last but one before it.
    """
    characters = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((characters & 32) == 0)
    if len(last) == 0:
        return np.zeros(0, dtype=np.int64)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(characters)) - np.repeat(first, last - first + 1)
    runs = np.add.reduceat((characters & 31) << (5 * place), first)
    negative = (characters[last] & 16) != 0
    runs[negative] -= np.int64(1) << (5 * (place[last][negative] + 1))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def place_mask(rle: RLE, size: Size, *, top: int, left: int) -> RLE:
    """The mask of a window as a mask of the image around it, zero outside the window.

    Memory and time grow with the runs, not with the pixels. A window that reaches beyond the
    image is a ValueError.

    Args:
        rle: Mask of the window.
        size: (height, width) of the image.
        top: Row of the window's first pixel in the image.
        left: Column of the window's first pixel in the image.
    """
    height, width = rle["size"]
    if top < 0 or left < 0 or top + height > size[0] or left + width > size[1]:
        window = f"a window of {(height, width)} at row {top}, column {left}"
        raise ValueError(f"{window} reaches beyond the image of {size}")
    ends = np.cumsum(run_lengths(rle["counts"]))
    intervals = np.stack([ends[:-1:2], ends[1::2]], axis=1)  # the first run is one of zeros
    columns, rows = _per_column(intervals, height)
    return _from_intervals((columns + left)[:, None] * size[0] + rows + top, size)


def unite_masks(rles: Sequence[RLE]) -> RLE:
    """All pixels of some masks of one image."""
    from pycocotools import mask as mask_utils

    return mask_utils.merge(list(rles), intersect=False)


def decode_crop(rle: RLE) -> tuple[int, int, np.ndarray]:
    """Decode a compressed RLE inside the smallest rectangle that holds its pixels.

    Returns x and y of the rectangle in the image, and the mask in it, uint8 {0, 1} (h, w), empty
    for an empty mask. pycocotools decodes whole images: 0.35 s for 100 masks of a 4K one.
    """
    height = rle["size"][0]
    runs = run_lengths(rle["counts"])
    edges = np.cumsum(runs)
    ones = np.flatnonzero(runs[1::2])  # the runs of ones that have some pixels
    if len(ones) == 0:
        return 0, 0, np.zeros((0, 0), dtype=np.uint8)
    start, end = int(edges[2 * ones[0]]), int(edges[2 * ones[-1] + 1])
    x0, x1 = start // height, (end - 1) // height + 1
    inside = runs[2 * ones[0] + 1 : 2 * ones[-1] + 2]
    runs = np.concatenate([[start - x0 * height], inside, [x1 * height - end]])
    columns = np.repeat(np.arange(len(runs)).astype(np.uint8) & 1, runs).reshape(x1 - x0, height)
    rows = np.flatnonzero(columns.any(axis=0))
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    return x0, y0, np.ascontiguousarray(columns[:, y0:y1].T)


def _per_column(intervals: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut intervals (I, 2) where columns end: columns (J,), and rows (J, 2) from and to."""
    intervals = intervals[intervals[:, 0] < intervals[:, 1]]
    first, last = intervals[:, 0] // height, (intervals[:, 1] - 1) // height
    pieces = last - first + 1
    start_of = np.repeat(np.cumsum(pieces) - pieces, pieces)
    columns = np.repeat(first, pieces) + np.arange(len(start_of)) - start_of
    rows = np.repeat(intervals, pieces, axis=0) - columns[:, None] * height
    return columns, rows.clip(0, height)


def _from_intervals(intervals: np.ndarray, size: Size) -> RLE:
    """Encode rising intervals (I, 2); those that meet become one."""
    from pycocotools import mask as mask_utils

    meets = intervals[1:, 0] == intervals[:-1, 1]
    starts = intervals[np.concatenate([[True], ~meets]), 0] if len(intervals) else intervals[:, 0]
    ends = intervals[np.concatenate([~meets, [True]]), 1] if len(intervals) else intervals[:, 1]
    borders = np.stack([starts, ends], axis=1).reshape(-1)
    runs = np.diff(borders, prepend=0, append=size[0] * size[1])
    # The encoder writes no run of zeros after the last pixel.
    runs = runs if runs[-1] > 0 or len(runs) == 1 else runs[:-1]
    return mask_utils.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)


def areas_of_sound(counts: Sequence[str], num_pixels: np.ndarray) -> np.ndarray | None:
    """Pixels float64 (N,) of masks, or None unless all texts are run lengths of their images.

    Sound are run lengths from 0 on that cover as many pixels as the image has. Most numbers are one
    character, so only those characters are looked at behind which a number goes on.

    Args:
        counts: Compressed run lengths of N masks.
        num_pixels: Pixels of their images, (N,).
    """
    joined = "".join(counts)
    if not joined.isascii() or not all(counts):
        return None
    bits = np.frombuffer(joined.encode(), dtype=np.uint8) - np.uint8(48)
    if bits.max() >= 64:
        return None
    goes_on = bits >= 32
    ends = np.cumsum(np.fromiter(map(len, counts), dtype=np.int64, count=len(counts)))
    if goes_on[ends - 1].any():  # a number goes on behind the end of a text
        return None
    more = np.flatnonzero(goes_on)
    owner = more - np.arange(len(more))  # the number that each of them is a digit of
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))
    digits = np.diff(firsts, append=len(more))  # beside the last one
    most = int(digits.max(initial=0)) + 1
    if most > _MOST_DIGITS:
        return None
    # Steps below 2^30 cannot lead over all negative numbers, so what overflows is seen as negative.
    integer = np.int32 if most <= 6 else np.int64
    runs: np.ndarray = ((bits[~goes_on] ^ 16).view(np.int8) - np.int8(16)).astype(integer)
    if len(more):
        place = np.arange(len(more)) - np.repeat(firsts, digits)
        lower = (bits[more] & 31).astype(integer)
        longer = owner[firsts]
        runs[longer] <<= (5 * digits).astype(integer)
        runs[longer] |= np.add.reduceat(lower << (5 * place).astype(integer), firsts)
    return _cover(runs, ends - np.searchsorted(more, ends), num_pixels)


def _cover(runs: np.ndarray, stops: np.ndarray, num_pixels: np.ndarray) -> np.ndarray | None:
    """Pixels (N,) of masks whose numbers (R,) end at ``stops`` (N,), or None for unsound ones.

    Two chains of differences add up, of zeros and of ones, which take turns in each mask.
    """
    starts = np.concatenate([[0], stops[:-1]])
    third = starts[stops - starts >= 3]
    runs[third + 2] -= runs[third]  # the third number is no difference
    pixels = np.zeros((2, len(stops)), dtype=np.int64)  # of numbers at even and at odd places
    for parity in (0, 1):
        chain = runs[parity::2]
        begins, ends = ((edge + 1 - parity) // 2 for edge in (starts, stops))
        sums = np.zeros(len(chain) + 1, dtype=runs.dtype)
        np.cumsum(chain, out=sums[1:])
        lengths = sums[1:] - np.repeat(sums[begins], ends - begins)
        if lengths.min(initial=0) < 0:
            return None
        totals = np.zeros(len(chain) + 1, dtype=np.int64)
        np.cumsum(lengths, out=totals[1:])
        pixels[parity] = totals[ends] - totals[begins]
    if (pixels.sum(axis=0) != num_pixels).any():
        return None
    return pixels[1 - starts % 2, np.arange(len(stops))].astype(np.float64)
