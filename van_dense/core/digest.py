"""Digests of files of any size, and of values."""

import hashlib
import json
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20  # bytes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """Hash of anything that JSON can hold, 32 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
