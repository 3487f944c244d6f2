"""What the page can ask for: predictions, explanations and files of the last images."""

from __future__ import annotations

import io
import re
import secrets
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np

from van_dense.core.budgets import OverBudget
from van_dense.core.plain_text import one_line
from van_dense.data.io.image import image_from_bytes
from van_dense.data.io.pixels import open_image
from van_dense.demo.evidence import evidence, refusal
from van_dense.demo.examples import Examples
from van_dense.demo.payload import Json, describe, picture_url
from van_dense.inference.loaded import Loaded
from van_dense.inference.result import Result

PIXELS = 2**26  # of an upload, 192 MiB as RGB; no photo has more, and larger scans want tiles
KEPT = 8  # results that can still be explained and saved
KEPT_BYTES = 2**30  # of images and maps of these results; the last one stays in any case
_LONGEST_NAME = 80  # letters
_TYPES = {".json": "application/json", ".csv": "text/csv; charset=utf-8", ".png": "image/png"}


class Refusal(Exception):
    """Something that is not done.

    Args:
        status: Status code of HTTP.
        sentence: Reason, and what to do, for the person at the page.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True)
class Download:
    """A file for the browser."""

    name: str
    kind: str  # media type
    data: bytes


class Session:
    """A network and the last results of it, for any number of threads.

    Args:
        loaded: Network that predicts.
        examples: Images that are offered.
        title: Name of the run, for the head of the page.
    """

    def __init__(self, loaded: Loaded, examples: Examples, title: str) -> None:
        self.loaded = loaded
        self.examples = examples
        self.title = title
        self.busy = Lock()  # one prediction or explanation at a time
        self._kept: OrderedDict[str, tuple[Result, np.ndarray]] = OrderedDict()
        self._keeping = Lock()

    def about(self) -> Json:
        """What the page says of the network before there is an image."""
        info, config = self.loaded.info, self.loaded.config
        return {
            "title": one_line(self.title),
            "task": config.task,
            "backbone": config.model.backbone.name,
            "data": one_line(info.name),
            "num_classes": info.num_classes,
            "one_person": bool(info.keypoint_names),
            "unexplained": refusal(self.loaded),
        }

    def predict(self, image: np.ndarray, name: str) -> Json:
        """Predict an image, keep the result under an id of its own, and describe it."""
        with self.busy:
            [found] = self.loaded.predict(image)
        result = replace(found, image_id=name, name=_file_name(name))
        described = describe(result, image)
        key = secrets.token_hex(16)
        with self._keeping:
            self._kept[key] = (result, image)
            while len(self._kept) > 1 and self._is_too_much():
                self._kept.popitem(last=False)
        return {"id": key, **described}

    def predict_example(self, index: object) -> Json:
        """Predict one of the examples, by its position."""
        examples = self.examples.all()
        if not isinstance(index, int) or not 0 <= index < len(examples):
            raise Refusal(404, "There is no such example; reload the page.")
        example = examples[index]
        return self.predict(example.read(), example.name)

    def explain(self, key: object, clicked: dict[str, Any]) -> Json:
        """What spoke for a part of a result, as title and picture."""
        result, image = self._result(key)
        with self.busy:
            try:
                found = evidence(self.loaded, image, result, clicked)
            except ValueError as error:
                raise Refusal(422, str(error)) from error
        return {"title": found.title, "picture": picture_url(found.pixels)}

    def download(self, key: object) -> Download:
        """The files that ``Result.save`` writes beside the picture; several as one zip."""
        result, _ = self._result(key)
        name = result.name or "image"
        with TemporaryDirectory() as folder:
            files = result.save_results(Path(folder), name)
            if len(files) == 1:
                (file,) = files
                return Download(f"{name}{file.suffix}", _TYPES[file.suffix], file.read_bytes())
            data = io.BytesIO()
            with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in files:
                    archive.write(file, file.relative_to(folder))
        return Download(f"{name}.zip", "application/zip", data.getvalue())

    def _result(self, key: object) -> tuple[Result, np.ndarray]:
        with self._keeping:
            found = self._kept.get(key) if isinstance(key, str) else None
        if found is None:
            raise Refusal(404, f"This result is gone: the last {KEPT} are kept. Predict it again.")
        return found

    def _is_too_much(self) -> bool:
        count = sum(result.count_bytes() for result, _ in self._kept.values())
        return len(self._kept) > KEPT or count > KEPT_BYTES


def decode_upload(data: bytes, name: str) -> np.ndarray:
    """Pixels of an uploaded file, uint8 RGB (H, W, 3), read as any other image of the package.

    Raises:
        Refusal: When it has too many pixels, which its header tells before they are decoded.
        ReadError: When it is broken, or no image.
    """
    try:
        with open_image(name, data) as header:
            pixels = header.width * header.height
    except OverBudget as error:
        raise Refusal(413, f"{error}") from error
    except Exception:  # as in data/io/image.py, whose sentence about the file follows below
        pixels = 0
    if pixels > PIXELS:
        most = f"{PIXELS / 1e6:.0f} megapixels"
        sentence = f"{name} has {pixels / 1e6:.0f} megapixels; this page takes at most {most}."
        raise Refusal(413, f"{sentence} Use van-dense predict --tile for it.")
    return image_from_bytes(data, name)


def clean_name(name: str) -> str:
    """Name of an uploaded file for messages and results: no folders, no control characters."""
    last = re.split(r"[/\\]", name)[-1]
    return one_line(last)[-_LONGEST_NAME:].strip() or "image"


def _file_name(name: str) -> str:
    """Name of files on the disk of whoever saves them, without suffix; letters, digits, ``-_``."""
    return re.sub(r"[^\w-]+", "_", Path(name).stem, flags=re.ASCII).strip("_") or "image"
