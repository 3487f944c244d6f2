"""Grey PNGs of few bits, which Pillow reads but does not write."""

import struct
import zlib
from pathlib import Path

import numpy as np


def png_of_bits(path: Path, values: np.ndarray, bits: int) -> None:
    """Write uint8 (H, W) as grey of 1, 2, 4 or 8 bits a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = values.shape
    single = values[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
    rows = np.packbits(single.reshape(height, width * bits), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(signature + body)
