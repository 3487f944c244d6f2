"""Words for names of classes: WordNet ids as of ImageNet's folders, numbered names as of CUB."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timm.data import ImageNetInfo

_WORDNET_ID = re.compile(r"n\d{8}")  # folder names of ImageNet
_NUMBERED = re.compile(r"\d{3}\.(?=.)")  # class names of CUB: 001.Black_footed_Albatross


def readable_name(name: str) -> str:
    """Name for a person: what a WordNet id means; no number before words, and no underscores."""
    if _WORDNET_ID.fullmatch(name):
        return _synonyms(name) or name
    return _NUMBERED.sub("", name, count=1).replace("_", " ")


def spoken_names(folders: Sequence[str]) -> tuple[str, ...]:
    """Words for WordNet ids such as n01440764 (tench), if all folders are ones that timm knows.

    Two classes of ImageNet-1K are "crane" and two "maillot": there the id stays behind the word.
    """
    synonyms = [_synonyms(name) if _WORDNET_ID.fullmatch(name) else None for name in folders]
    words = [known.split(",")[0].strip() for known in synonyms if known is not None]
    if len(words) < len(folders):
        return tuple(folders)
    times = Counter(words)
    pairs = zip(words, folders, strict=True)
    return tuple(word if times[word] == 1 else f"{word} ({folder})" for word, folder in pairs)


def _synonyms(wordnet_id: str) -> str | None:
    """Synonyms such as "tench, Tinca tinca" as timm knows them."""
    try:
        return _imagenet().label_name_to_description(wordnet_id)
    except KeyError:
        return None


@lru_cache(maxsize=1)
def _imagenet() -> ImageNetInfo:
    """Words for the ids of ImageNet-1K and 22K."""
    from timm.data import ImageNetInfo  # takes a second, and most classes have other names

    return ImageNetInfo()
