"""benchmarks/jpeg_decoders.py says what decoders make of sound and damaged files."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.jpeg_decoders import by_opencv, by_pillow, measure


def jpeg(seed: int, **options: object) -> bytes:
    """Noise, so that the file is long enough to be damaged behind its header."""
    pixels = np.random.default_rng(seed).integers(256, size=(80, 96, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_opencv_makes_pillows_pixels(options: dict[str, object]) -> None:
    data = jpeg(0, **options)
    assert np.array_equal(by_opencv(data), by_pillow(data))


def test_sound_files_agree_and_cut_ones_raise() -> None:
    decoders = {"pillow": by_pillow, "opencv": by_opencv}
    found = measure(decoders, [jpeg(seed) for seed in range(10)], rounds=1)
    assert found["photos"] == 10
    assert found["photos_with_other_pixels"] == {"pillow": 0, "opencv": 0}
    assert found["damaged"]["cut, pillow"] == {"raises": 1, "complains": 0}
    assert set(found["damaged"]) == {
        f"{kind}, {name}" for kind in ("cut", "bit", "zeros") for name in decoders
    }
