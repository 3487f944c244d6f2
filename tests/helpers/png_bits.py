"""PNGs of few bits, and of 16 bits with colours, which Pillow reads but does not write."""

import struct
import zlib
from pathlib import Path

import numpy as np


def png_of_bits(path: Path, values: np.ndarray, bits: int) -> None:
    """Write uint8 (H, W) as grey of 1, 2, 4 or 8 bits a pixel."""
    height, width = values.shape
    single = values[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
    _write(path, np.packbits(single.reshape(height, width * bits), axis=1), width, bits, 0)


def png_of_rows(path: Path, rows: np.ndarray, bits: int, kind: int, palette: bytes = b"") -> None:
    """Write (H, W, C) of 8 bits, or of 16 big-endian ones, as a colour type of PNG, 11.2.1."""
    _write(path, rows, rows.shape[1], bits, kind, palette)


def _write(
    path: Path, rows: np.ndarray, width: int, bits: int, kind: int, palette: bytes = b""
) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    colors = chunk(b"PLTE", palette) if palette else b""
    body = (
        chunk(b"IHDR", header) + colors + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )
    path.write_bytes(signature + body)
