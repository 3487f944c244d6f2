"""TIFF files that Pillow does not write."""

import struct
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
