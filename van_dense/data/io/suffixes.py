"""Which files are images: the suffixes that the installed decoders read."""

from __future__ import annotations

from PIL import Image, features

# Formats of Pillow that hold a picture of their own: no icons, fonts, textures, stubs and films.
_STILL = {
    "BMP": None,
    "DIB": None,
    "GIF": None,
    "HEIF": None,  # of pillow-heif
    "JPEG": "jpg",
    "JPEG2000": "jpg_2000",
    "MPO": "jpg",
    "PCX": None,
    "PNG": "zlib",
    "PPM": None,
    "QOI": None,
    "SGI": None,
    "SUN": None,
    "TGA": None,
    "TIFF": None,
    "WEBP": "webp",
    "AVIF": "avif",
}  # and the feature of Pillow that decodes them
# What reads other pictures that people have in their folders.
_PACKAGES = {
    **dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), "pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "pillow of version 11.3 or newer"),
    ".jxl": "pillow-jxl-plugin",
}


def _readable() -> frozenset[str]:
    """Suffixes in lower case of what can be opened and decoded."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    Image.init()
    formats = {
        name
        for name, feature in _STILL.items()
        if name in Image.OPEN and (feature is None or features.check(feature))
    }
    known = Image.registered_extensions().items()
    return frozenset(suffix.lower() for suffix, name in known if name in formats)


SUFFIXES = _readable()
#: Package that reads the pictures of a suffix, for those that nothing installed reads.
MISSING = {suffix: name for suffix, name in _PACKAGES.items() if suffix not in SUFFIXES}


def list_suffixes() -> str:
    """The suffixes that people use most, for messages; all are in ``SUFFIXES``."""
    usual = (".jpg", ".jpeg", ".png", ".tif", ".bmp", ".gif", ".webp", ".jp2", ".avif", ".heic")
    shown = [suffix for suffix in usual if suffix in SUFFIXES]
    return f"{', '.join(shown)} and {len(SUFFIXES) - len(shown)} more"
