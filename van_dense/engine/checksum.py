"""A checksum of everything a checkpoint holds, whatever the file around it looks like.

The zip archive that ``torch.save`` writes has a CRC-32 of every record, but none of its directory:
a damaged one can lead to other records, which then agree with their own CRC.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, uint8


def checksum(value: Any) -> str:
    """BLAKE2b, as 32 hexadecimal digits, of tensors and plain data in nested containers.

    Equal for tensors on any device, and before and after ``torch.save``.
    """
    digest = hashlib.blake2b(digest_size=16)
    _add(value, digest)
    return digest.hexdigest()


def _add(value: Any, digest: "hashlib.blake2b") -> None:
    if isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        # bfloat16 is no type of NumPy, and a tensor without dimension has no bytes to view
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(uint8).numpy().data)
    elif isinstance(value, Mapping):
        digest.update(f"map {len(value)};".encode())
        for key, item in value.items():
            _add(key, digest)
            _add(item, digest)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)};".encode())
        for item in value:
            _add(item, digest)
    else:
        digest.update(f"{type(value).__name__} {value!r};".encode())
