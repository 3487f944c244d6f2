"""What tests of pictures look at beside pixels."""

import pytest
from PIL import ImageDraw


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """Everything that is written."""
    said: list[str] = []
    write = ImageDraw.ImageDraw.text

    def text(pen, place, words, *args, **options):
        said.append(words.strip())
        write(pen, place, words, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return said
