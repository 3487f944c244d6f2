"""Two or more models on the same images: what differs, and whether it is more than chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from van_dense.report.blocks import Cell, Finding, Gallery, Picture, Report, Section, Table, Text
from van_dense.report.evidence import (
    DIFFERENCE_CONFIDENCE,
    OF,
    RESAMPLES,
    Difference,
    Evidence,
    comparable,
)
from van_dense.report.wording import FEW

DRAWN = 8  # images where the models differ most
HEADLINES = "Headline numbers"


@dataclass(frozen=True)
class Model:
    """One side of a comparison.

    Attributes:
        name: Short name, such as that of a run.
        evidence: Metrics of the model.
        image_scores: Score of each image of the evidence, higher where it is better, (N,).
    """

    name: str
    evidence: Evidence
    image_scores: np.ndarray


def compare(
    models: Sequence[Model],
    *,
    classes: Sequence[str],
    scored_by: str,
    less_is_better: Callable[[str], bool],
    draw: Callable[[int | str], np.ndarray | None],
    seed: int = 0,
) -> Report:
    """Compare each model with the first one, on the same draws of images.

    Args:
        models: At least two, the first of which is the one that others are compared with.
        classes: Class names, whose metrics get a table of their own.
        scored_by: What ``image_scores`` are, in words.
        less_is_better: Function that says of which metrics less is better.
        draw: Function from an image id to truth and all predictions side by side, or None.
        seed: Seed of the draws.

    Raises:
        ValueError: When two models cannot be compared; what differs is named.
    """
    first, *others = models
    num = len(first.evidence.image_ids)
    if num < 2:
        raise ValueError("a comparison needs two images at least, since it tells chance from skill")
    sections: list[Section] = []
    findings: list[Finding] = []
    numbers: dict[str, float] = {}
    for other in others:
        comparable(first.evidence, other.evidence, (first.name, other.name))
        known = first.evidence.values().keys() & other.evidence.values().keys()
        names = [name for name in first.evidence.values() if name in known]
        found = first.evidence.differences(other.evidence, names, seed=seed)
        both = f": {other.name} against {first.name}" if len(others) > 1 else ""
        sections += _tables(found, (first.name, other.name), classes, both)
        known_values = {name: one for name, one in found.items() if not math.isnan(one.value)}
        headlines = [name for name in known_values if OF not in name]
        findings += [
            _sentence(name, found[name], (first.name, other.name), less_is_better(name), both, rank)
            for rank, name in enumerate(headlines)
        ]
        numbers |= _numbers(found, other.name)
        sections.append(_images(first, other, draw, both, scored_by))
    title = " and ".join(model.name for model in models)
    few = f"; of only {num} images they are rather too narrow" if num < FEW else ""
    intervals = f"{100 * DIFFERENCE_CONFIDENCE:.0f} % intervals of {RESAMPLES} draws{few}"
    return Report(
        title,
        f"compared on the same {num} images, with {intervals}",
        sections,
        findings,
        numbers,
        "What differs, and whether it is more than chance",
    )


def _tables(
    found: Mapping[str, Difference], names: tuple[str, str], classes: Sequence[str], both: str
) -> list[Section]:
    """Headline numbers, classes and slices, those that exist."""
    endings = set(classes)
    groups: dict[str, list[str]] = {HEADLINES: [], "Classes": [], "Slices": []}
    for name in found:
        _, of, what = name.partition(OF)
        groups[HEADLINES if not of else "Classes" if what in endings else "Slices"].append(name)
    interval = f"with its {100 * DIFFERENCE_CONFIDENCE:.0f} % interval"
    words = (
        f"Difference is {names[1]} minus {names[0]}, {interval}; "
        f"share is the part of the draws where {names[1]} has the larger value."
    )
    columns = ["metric", *names, "difference", "from", "to", "share"]
    alone = " What a single image shows has no interval, since it says nothing about other images."
    sections = []
    for title, members in groups.items():
        if not members:
            continue
        rows: list[list[Cell]] = [
            [name, one.first, one.second, one.value, one.low, one.high, one.share]
            for name, one in ((name, found[name]) for name in members)
        ]
        if title != HEADLINES:  # the largest difference first, whichever way
            rows.sort(key=lambda row: -abs(_known(found[str(row[0])].value)))
        without = any(
            math.isnan(found[name].low) and not math.isnan(found[name].value) for name in members
        )
        table = Table(columns, rows, words + (alone if without else ""))
        sections.append(Section(f"{title}{both}", [table]))
    return sections


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _sentence(
    name: str,
    one: Difference,
    names: tuple[str, str],
    less_is_better: bool,
    both: str,
    rank: int,
) -> Finding:
    interval = f"{100 * DIFFERENCE_CONFIDENCE:.0f} % interval"
    if one.is_clear:
        is_better = (one.value > 0) != less_is_better
        better, worse = names[::-1] if is_better else names
        low, high = sorted((abs(one.low), abs(one.high)))
        by = f"{abs(one.value):.3f} ({interval} {low:.3f} to {high:.3f})"
        text = f"{better} is better than {worse} in {name} by {by}."
    else:
        apart = f"{one.value:+.3f} ({interval} {one.low:+.3f} to {one.high:+.3f})"
        text = f"In {name} the two cannot be told apart: {apart}."
    return Finding(text, 1 / (1 + rank), f"{HEADLINES}{both}")  # in the order of the metrics


def _numbers(found: Mapping[str, Difference], name: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for metric, one in found.items():
        here = f"{name}: {metric}"
        numbers |= {
            here: one.second,
            f"{here}, difference": one.value,
            f"{here}, low": one.low,
            f"{here}, high": one.high,
            f"{here}, share": one.share,
        }
    return numbers


def _images(
    first: Model,
    other: Model,
    draw: Callable[[int | str], np.ndarray | None],
    both: str,
    scored_by: str,
) -> Section:
    """The images where the scores of two models are farthest apart."""
    apart = np.nan_to_num(other.image_scores - first.image_scores)
    order = np.argsort(-np.abs(apart), kind="stable")
    chosen = [index for index in order[: 4 * DRAWN].tolist() if apart[index] != 0]
    ids = first.evidence.image_ids
    rows: list[list[Cell]] = [
        [str(ids[i]), float(first.image_scores[i]), float(other.image_scores[i]), float(apart[i])]
        for i in chosen
    ]
    title = f"Images where they differ most{both}"
    if not rows:
        return Section(title, [Text(["The two have the same score on every image."])])
    table = Table(["image", first.name, other.name, "difference"], rows, f"Scored by {scored_by}.")
    pictures = []
    for index in chosen[:DRAWN]:
        picture = draw(ids[index])
        if picture is not None:
            score = f"{first.image_scores[index]:.3f} and {other.image_scores[index]:.3f}"
            caption = f"{ids[index]}: {score}"
            alt = f"Ground truth, {first.name} and {other.name} on image {ids[index]}"
            pictures.append(Picture(picture, alt, caption))
    return Section(title, [table, *([Gallery(pictures)] if pictures else [])])
