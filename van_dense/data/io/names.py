"""Names and texts as other systems write them: backslashes, %20, accents, byte order marks."""

from __future__ import annotations

import codecs
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from van_dense.core.counting import counted

# The longer ones first: UTF-32's begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: str | Path) -> str:
    """Text of a file in UTF-8, or in what its byte order mark says, without the mark.

    Other encodings are a ValueError with the fix; a file that cannot be read is an OSError.
    """
    data = Path(path).read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        what = f"not text in UTF-8 (byte {data[error.start]:#04x} at {error.start})"
        raise ValueError(f"{path}: {what}; save it as UTF-8") from None


def spellings(name: str) -> Iterator[str]:
    """A path as it is written, and then as it may be meant, each once."""
    plain = name.replace("\\", "/")
    forms = [name, plain, unquote(plain)]
    forms += [unicodedata.normalize(form, forms[2]) for form in ("NFC", "NFD")]
    yield from dict.fromkeys(forms)


def is_plain(name: str) -> bool:
    """Whether a path means itself alone on every system."""
    return name.isascii() and "\\" not in name and "%" not in name


def find_below(root: str | Path, name: str) -> str:
    """Path of a file below a folder, in the spelling that exists; as written where none does.

    Windows writes ``sub\\a.jpg``, Label Studio ``a%20b.jpg``, and a Mac takes accents apart.
    """
    path = os.path.join(root, name)
    if is_plain(name):
        return path  # no question to a slow disk
    paths = [os.path.join(root, form) for form in spellings(name)]
    return next((one for one in paths if os.path.exists(one)), path)


def find_all_below(root: str | Path, names: Sequence[str]) -> tuple[list[str], str | None]:
    """Paths of files below a folder as ``find_below`` finds each; names that differ in words."""
    paths = [find_below(root, name) for name in names]
    pairs = zip(names, paths, strict=True)
    odd = [(name, path) for name, path in pairs if path != os.path.join(root, name)]
    if not odd:
        return paths, None
    what = f"{counted(len(odd), 'file name is', 'file names are')} spelled otherwise than the files"
    return paths, f"{what}: {odd[0][0]} is {os.path.relpath(odd[0][1], root)}"


def plain_stem(name: str) -> str:
    """What the names of a file have in common however systems write them, without suffix."""
    return unicodedata.normalize("NFC", unquote(os.path.splitext(name)[0])).casefold()
