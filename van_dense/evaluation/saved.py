"""Score predictions that any program saved: a file of COCO results, or a folder of maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from van_dense.data.coco_json import read_coco_json
from van_dense.evaluation.coco import Backend, evaluate_results
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.map_files import evaluate_label_maps, evaluate_saliency_maps, find_files
from van_dense.evaluation.results import load_results
from van_dense.evaluation.table import PerClass

MapKind = Literal["semantic", "saliency"]


@dataclass(frozen=True)
class Scores:
    """Metrics by flat name, those of each class, and one line on what was compared."""

    metrics: dict[str, float]
    per_class: PerClass
    summary: str


@dataclass(frozen=True)
class MapSettings:
    """What folders of maps do not say about themselves; named as in section ``data`` of a config.

    Attributes:
        label_map: Lines that give raw values their labels; see ``LabelMap``.
        classes: Names of the labels; without any they are called by their raw values.
        prediction_pattern: Of the files with predictions; see ``van_dense/data/image_mask.py``.
        mask_pattern: Of the files with annotations.
    """

    label_map: Sequence[str] = ()
    classes: Sequence[str] = ()
    prediction_pattern: str = "{key}.*"
    mask_pattern: str = "{key}.*"

    @staticmethod
    def of(section: Mapping[str, Any]) -> MapSettings:
        """Take what is here from section ``data`` of a config, which holds more."""
        names = {field.name for field in fields(MapSettings)}
        return MapSettings(**{name: section[name] for name in names & section.keys()})


def score_results(predictions: str, annotations: str, kind: Kind, backend: Backend) -> Scores:
    """Compare a COCO results file with its annotation file.

    Raises:
        ValueError: For a record or an annotation that cannot be right.
    """
    ground_truth = read_coco_json(annotations)
    results = load_results(predictions, ground_truth, kind)
    scores = evaluate_results(ground_truth, results, kind, backend=backend)
    num_images = len({record["image_id"] for record in results})
    return Scores(
        {f"{kind}/{name}": value for name, value in scores.metrics.items()},
        {kind: scores.per_class},
        f"{len(results)} results in {num_images} of {len(ground_truth['images'])} images; "
        "images without results count as empty",
    )


def score_maps(
    predictions: str, annotations: str, kind: MapKind, settings: MapSettings, *, folder: Path
) -> Scores:
    """Compare two folders, and write confusion.csv or curves.csv into a third.

    Raises:
        ValueError: When the files do not fit together, or label maps come without a label map.
    """
    if kind == "semantic" and not settings.label_map:
        raise ValueError(
            "what do the values of the label maps mean? Give --data FRAGMENT, such as "
            'configs/_data/ade20k.yaml, or --label-map "0 -> ignore" "1..150 -> 0..149"'
        )
    files = find_files(
        predictions,
        annotations,
        prediction_pattern=settings.prediction_pattern,
        mask_pattern=settings.mask_pattern,
    )
    evaluator: Evaluator = (
        evaluate_saliency_maps(files)
        if kind == "saliency"
        else evaluate_label_maps(files, settings.label_map, settings.classes)
    )
    evaluator.save(folder)
    return Scores(evaluator.compute(), evaluator.per_class(), f"{len(files)} maps")
