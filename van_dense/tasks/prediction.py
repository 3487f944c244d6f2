"""Predict image files, draw them, and keep the results as COCO records or a table of classes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.data.coco_json import read_coco_json
from van_dense.data.dataset import ReadError
from van_dense.data.image import SUFFIXES, read_image
from van_dense.dataset_info import DatasetInfo
from van_dense.evaluation.classification import best_cells, best_classes, best_header
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


def read_ids(annotations: str | None) -> dict[str, int | str]:
    """Image ids by file name, as a COCO annotation file has them; none without one.

    Raises:
        ValueError: For another file, or when a name appears twice.
    """
    ids: dict[str, int | str] = {}
    for record in read_coco_json(annotations)["images"] if annotations else ():
        name = Path(record["file_name"]).name
        if name in ids:
            raise ValueError(
                f"{annotations}: two images are called {name}, and ids are found by name; leave "
                "--annotations out"
            )
        ids[name] = record["id"]
    return ids


@dataclass
class Predicted:
    """What became of some files.

    Attributes:
        unreadable: A message for each file that could not be read.
        records: COCO records of the instances found; None where the task has none.
    """

    unreadable: list[str] = field(default_factory=list)
    records: list[Result] | None = None


def predict_files(
    files: Iterable[Path],
    predict: Callable[[np.ndarray], Prediction],
    info: DatasetInfo,
    *,
    folder: Path,
    ids: Mapping[str, int | str],
    min_score: float,
) -> Predicted:
    """Write pictures/, and predictions.json of instances or predictions.csv of classes.

    Unreadable files stop nothing.

    Args:
        files: Images.
        predict: From uint8 RGB (H, W, 3) to a prediction.
        info: What its labels mean.
        folder: To write to, made if missing.
        ids: Image id of a file name; others are named by their path.
        min_score: Instances below are not drawn.
    """
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    done = Predicted()
    classes: list[list[str]] = []
    for number, path in enumerate(files):
        try:
            image = read_image(path)
        except ReadError as error:
            done.unreadable.append(str(error))
            continue
        found = replace(predict(image), image_id=ids.get(path.name, str(path)))
        if found.instances is not None:
            records = to_results(found, info)
            if found.instances.keypoints is not None:
                records = as_poses(records)
            done.records = [] if done.records is None else done.records
            done.records += records
        if found.class_scores is not None:
            best = best_classes(found.class_scores.numpy())
            classes.append([str(found.image_id), *best_cells(best, info.class_names)])
        picture = draw(image, found, info, min_score=min_score)
        Image.fromarray(picture).save(pictures / f"{number:06d}_{path.stem}.png")
    if done.records is not None:
        save_results(folder / "predictions.json", done.records)
    if classes:
        with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            header = ["image", *best_header(info.num_classes)]
            csv.writer(file).writerows([header, *classes])
    return done
