"""How many processes ``torchrun`` started, known before torch is imported."""

import os


def num_processes() -> int:
    """The processes that share a command; 1 without ``torchrun``."""
    return int(os.environ.get("WORLD_SIZE", "1"))
