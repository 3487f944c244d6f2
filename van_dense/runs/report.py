"""Reports and comparisons of runs, and of predictions that any program saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from van_dense.engine.log import is_error
from van_dense.report import classes, labels, objects, panoptic, saliency
from van_dense.report.blocks import Finding, Report, Section
from van_dense.report.compare import Model, compare
from van_dense.report.page import write_numbers, write_page
from van_dense.report.side_by_side import Measured, image_scores, kind_of, side_by_side
from van_dense.report.sources import Images, Maps, Objects, Panoptic, Source


def module_of(source: Source) -> ModuleType:
    """What makes evidence, report and pictures of a source."""
    if isinstance(source, Maps):
        return labels if source.kind == "semantic" else saliency
    return {Objects: objects, Images: classes, Panoptic: panoptic}[type(source)]


def write_report(sources: Sequence[Source], title: str, folder: Path) -> Path:
    """Write report.html and report.json of one model.

    Args:
        sources: Predictions of the model, one source for each kind that is measured.
        title: Name of the model.
        folder: Folder to write into.

    Returns:
        The page.
    """
    reports = [module_of(source).report_of(source, title) for source in sources]
    return _write(joined(reports, [kind_of(source) for source in sources]), folder, "report")


def write_comparison(
    models: Mapping[str, Sequence[Source]], folder: Path, *, seed: int = 0
) -> Path:
    """Write compare.html and compare.json of several models, each against the first.

    Args:
        models: Sources of each model by its name, of the same kinds in the same order.
        folder: Folder to write into.
        seed: Seed of the draws of images.

    Returns:
        The page.

    Raises:
        ValueError: When two models cannot be compared; what differs is named.
    """
    kinds = {name: [kind_of(source) for source in sources] for name, sources in models.items()}
    first, *others = models
    for other in others:
        if kinds[other] != kinds[first]:
            both = f"{first} measures {kinds[first]}, {other} {kinds[other]}"
            raise ValueError(f"{first} and {other} cannot be compared: {both}")
    reports = [
        _compared(dict(zip(models, sources, strict=True)), seed)
        for sources in zip(*models.values(), strict=True)
    ]
    return _write(joined(reports, kinds[first]), folder, "compare")


def _compared(sources: Mapping[str, Source], seed: int) -> Report:
    measured = {
        name: Measured(source, module_of(source).evidence_of(source))
        for name, source in sources.items()
    }
    scores = {name: image_scores(model) for name, model in measured.items()}
    models = [Model(name, measured[name].evidence, scores[name][1]) for name in sources]
    return compare(
        models,
        classes=next(iter(sources.values())).info.class_names,
        scored_by=scores[models[0].name][0],
        less_is_better=is_error,
        draw=partial(side_by_side, measured),
        seed=seed,
    )


def joined(reports: Sequence[Report], kinds: Sequence[str]) -> Report:
    """Several kinds of one model on one page, each section of which names its kind."""
    if len(reports) == 1:
        return reports[0]
    sections: list[Section] = []
    findings: list[Finding] = []
    numbers: dict[str, float] = {}
    for report, kind in zip(reports, kinds, strict=True):
        sections += [replace(one, title=f"{kind}: {one.title}") for one in report.sections]
        findings += [
            Finding(f"{kind}: {one.text}", one.weight, f"{kind}: {one.section}")
            for one in report.findings
        ]
        numbers |= report.numbers
    subtitle = reports[0].subtitle
    first = reports[0]
    return Report(first.title, subtitle, sections, findings, numbers, first.findings_title)


def _write(report: Report, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{name}.html"
    write_page(report, page)
    write_numbers(report, folder / f"{name}.json")
    return page
