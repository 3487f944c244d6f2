"""The digest of a file of any size."""

import hashlib
from pathlib import Path

_BLOCK = 1 << 20  # bytes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
