"""TIFF files that Pillow does not write."""

import struct
from collections.abc import Callable
from pathlib import Path


def set_tag(path: Path, tag: int, value: int) -> None:
    """Change the number of a tag in a little-endian TIFF of one page, leaving the pixels."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<H", data, entry + 8, value)
            path.write_bytes(data)
            return
    raise KeyError(tag)


def write_tiff(
    path: Path,
    strips: list[bytes],
    size: tuple[int, int],
    tags: dict[int, int],
    *,
    order: str = "<",
    text: bytes = b"",
) -> None:
    """Write strips of one page of (height, width), with short tags and an ImageDescription."""
    entries = {256: size[1], 257: size[0], 259: 1, 262: 1, 277: 1, 278: size[0], **tags}
    offsets, end = [], 8
    for strip in strips:
        offsets.append(end)
        end += len(strip)
    lists = [(273, offsets), (279, [len(strip) for strip in strips])]
    body, rows = b"".join(strips), []
    if text:
        lists.append((270, [*text, 0]))
    for tag, values in [*lists, *((tag, [value]) for tag, value in entries.items())]:
        kind, letter = (2, "B") if tag == 270 else (4, "I")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            packed, body = struct.pack(f"{order}I", 8 + len(body)), body + packed
        rows.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(rows)) + b"".join(sorted(rows, key=_tag_of(order)))
    data = start + struct.pack(f"{order}I", 8 + len(body)) + body + directory + bytes(4)
    path.write_bytes(data)


def _tag_of(order: str) -> Callable[[bytes], int]:
    return lambda row: int(struct.unpack_from(f"{order}H", row)[0])
