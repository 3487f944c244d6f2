"""Frames of a video without their times."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from van_dense.data.io.video import read_timed_frames


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """The pixels of each frame, uint8 (H, W, 3) RGB."""
    return (frame.pixels for frame in read_timed_frames(path))
