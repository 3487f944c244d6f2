"""The C library's allocator: freed memory stays with a process that will need it again at once."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let glibc keep what this process frees, for good, and say whether it does so.

    By default glibc maps every block above 32 MiB anew, and returns the free end of its heap to the
    system; a training step on a CPU with such blocks then spends 5 to 14 % of its time on page
    faults (``benchmarks/README.md``). Nothing happens without glibc, or where the user has set
    ``MALLOC_...`` variables or ``glibc.malloc`` tunables.
    """
    is_set = any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or is_set or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):  # musl
        return False
    return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1))
