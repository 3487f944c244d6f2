"""JPEG decoders beside each other: processor time, pixels, and what they make of damaged files.

python benchmarks/jpeg_decoders.py FOLDER [FOLDER ...] --output FILE.json
pip install simplejpeg   into an environment of its own: the package does not use it

Every decoder makes uint8 RGB in its slow and exact mode out of bytes in memory, one thread. A round
passes all photos with one decoder after the other. Damage is done to every tenth photo: its end cut
off, one bit flipped, 1 KiB of zeros, each at a random place.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.clock import spread
from benchmarks.harness.machine import describe_machine, shareable_command

Decoder = Callable[[bytes], np.ndarray]
SUFFIXES = (".jpg", ".jpeg")
HEADER = 700  # bytes that damage spares
KIBIBYTE = 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every folder and write the result."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(0)
    decoders = installed()
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "command": shareable_command(argv, "benchmarks/jpeg_decoders.py"),
        "folders": {},
    }
    for folder in arguments.folders:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        files = [path.read_bytes() for path in paths]
        found = measure(decoders, files, arguments.repeats)
        result["folders"]["/".join(folder.parts[-2:])] = found
        print(folder, json.dumps(found, indent=1), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def installed() -> dict[str, Decoder]:
    """Pillow, OpenCV and, where it is there, simplejpeg."""
    decoders: dict[str, Decoder] = {"pillow": by_pillow, "opencv": by_opencv}
    try:
        import simplejpeg
    except ImportError:
        return decoders
    decoders["simplejpeg"] = lambda data: simplejpeg.decode_jpeg(data, "RGB")
    return decoders


def by_pillow(data: bytes) -> np.ndarray:
    """As ``data/io/image.py`` decodes, without its checks."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def by_opencv(data: bytes) -> np.ndarray:
    """ValueError where OpenCV gives no image."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError("no image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def measure(decoders: dict[str, Decoder], files: list[bytes], rounds: int) -> dict[str, Any]:
    """Time beside Pillow, photos with other pixels than Pillow's, and what damage leads to."""
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(rounds + 1):
        for name, decode in decoders.items():
            began = process_time()
            for data in files:
                decode(data)
            seconds[name].append((process_time() - began) / len(files))
    kept = {name: np.array(values[1:]) for name, values in seconds.items()}
    differ = {
        name: sum(not np.array_equal(decode(data), by_pillow(data)) for data in files)
        for name, decode in decoders.items()
    }
    return {
        "photos": len(files),
        "megapixels": round(float(np.mean([by_pillow(data).size / 3e6 for data in files])), 3),
        "cpu_ms": {name: spread(1000 * values) for name, values in kept.items()},
        "times_as_fast_as_pillow": {n: spread(kept["pillow"] / v) for n, v in kept.items()},
        "photos_with_other_pixels": differ,
        "damaged": damaged(decoders, files[::10]),
    }


def damaged(decoders: dict[str, Decoder], files: list[bytes]) -> dict[str, dict[str, int]]:
    """How often each kind of damage raises, gives Pillow's pixels or other ones, is complained of.

    libjpeg complains on the standard error, where a program has not asked it to be quiet.
    """
    random = np.random.default_rng(0)
    counts: dict[str, Counter[str]] = {}
    for data in files:
        place = int(random.integers(HEADER, len(data) - 2 * KIBIBYTE))
        flipped, zeroed = bytearray(data), bytearray(data)
        flipped[place] ^= 1 << int(random.integers(8))
        zeroed[place : place + KIBIBYTE] = bytes(KIBIBYTE)
        for kind, broken in (("cut", data[:place]), ("bit", flipped), ("zeros", zeroed)):
            expected, _ = outcome(by_pillow, bytes(broken))
            for name, decode in decoders.items():
                found, complains = outcome(decode, bytes(broken))
                same = found is not None and np.array_equal(found, expected)
                what = "raises" if found is None else "Pillow's pixels" if same else "other pixels"
                counter = counts.setdefault(f"{kind}, {name}", Counter())
                counter[what] += 1
                counter["complains"] += complains
    return {name: dict(counter) for name, counter in counts.items()}


def outcome(decode: Decoder, data: bytes) -> tuple[np.ndarray | None, bool]:
    """Pixels, or None for an error, and whether anything was written to the standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            found: np.ndarray | None = decode(data)
        except Exception:
            found = None
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        return found, file.tell() > 0 or os.fstat(file.fileno()).st_size > 0


if __name__ == "__main__":
    sys.exit(main())
