"""Predict image files, draw them, and keep the results in COCO's format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.image import SUFFIXES, read_image
from van_dense.dataset_info import DatasetInfo
from van_dense.evaluation.results import Result, as_poses, save_results, to_results
from van_dense.structures import Prediction
from van_dense.visualize.draw import draw


def find_images(sources: Sequence[str]) -> list[Path]:
    """Files as they are given, and the images of folders in order of their paths.

    Raises:
        ValueError: When a source does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"{source}: no image in this folder ({', '.join(SUFFIXES)})")
            files += inside
        elif source.exists():
            files.append(source)
        else:
            raise ValueError(f"{source}: no such file or folder")
    return files


def predict_files(
    files: Iterable[Path],
    predict: Callable[[np.ndarray], Prediction],
    info: DatasetInfo,
    *,
    folder: Path,
    ids: Mapping[str, int | str],
    min_score: float,
) -> list[str]:
    """Write pictures/ and, where instances are predicted, predictions.json.

    Args:
        files: Images.
        predict: From uint8 RGB (H, W, 3) to a prediction.
        info: What its labels mean.
        folder: To write to, made if missing.
        ids: Image id of a file name; others are named by their path.
        min_score: Instances below are not drawn.

    Returns:
        A message for each file that could not be read; they stop nothing.
    """
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    has_instances = False
    unreadable: list[str] = []
    for number, path in enumerate(files):
        try:
            image = read_image(path)
        except ReadError as error:
            unreadable.append(str(error))
            continue
        found = replace(predict(image), image_id=ids.get(path.name, str(path)))
        if found.instances is not None:
            has_instances = True
            records = to_results(found, info)
            results += records if found.instances.keypoints is None else as_poses(records)
        picture = draw(image, found, info, min_score=min_score)
        Image.fromarray(picture).save(pictures / f"{number:06d}_{path.stem}.png")
    if has_instances:
        save_results(folder / "predictions.json", results)
    return unreadable
