"""Report of saliency maps: how good they are, at which threshold, and which images to look at.

Legend: N images, B draws of images, T = 256 thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from van_dense.core.counting import counted
from van_dense.data.io.masks import to_grey
from van_dense.evaluation.evaluator import MapTruth, mean
from van_dense.evaluation.saliency import AVERAGED, CURVES, METRICS, measure_pair, metrics_of
from van_dense.evaluation.semantic import count_pairs
from van_dense.report import plots, saliency_findings
from van_dense.report.blocks import Block, Cell, Plot, Report, Section, Table, Text
from van_dense.report.each_image import each_image, require_images
from van_dense.report.evidence import WeightedEvidence
from van_dense.report.pictures import gallery
from van_dense.report.saliency_findings import ERRORS, IMAGES, SIZES, THRESHOLDS
from van_dense.report.sources import Maps
from van_dense.report.wording import (
    best_first,
    digest,
    fingerprint,
    headline,
    percent,
    worst_first,
)

HEADLINE = "pysod/Fmax"
_WORST, _BEST = 8, 4  # pictures
_ROWS = 20  # images of the table of the worst


@dataclass(frozen=True)
class SaliencyMeasures:
    """What a report keeps of saliency maps; no map is kept.

    Attributes:
        source: The maps.
        measures: Numbers of each image by name, (N,), and curves, (N, T): what ``measure_pair``
            gives, and beside it "area", the salient share of the annotation, "digest", a number
            that tells annotations apart, "excess" and "lack", the grey too much and too little, as
            shares of the image, and "binary", the shares of wrong pixels at each threshold.
    """

    source: Maps
    measures: Mapping[str, np.ndarray]

    def evidence(self) -> WeightedEvidence:
        """Metrics that draws of the images give."""
        truth = fingerprint(self.measures["digest"], "saliency maps")
        protocol = {"kind": "saliency", "ground truth": truth}
        ids = tuple(self.source.image_ids)
        return WeightedEvidence(ids, protocol, partial(_measured, self.measures))


def evidence_of(source: Maps) -> WeightedEvidence:
    """Metrics of saliency maps by the names of the evaluator.

    Every map is read once, and none is kept. Without images, and where maps do not fit, it is a
    ValueError.
    """
    return measure_maps(source).evidence()


def measure_maps(source: Maps) -> SaliencyMeasures:
    """Read all maps of a source once, in threads."""
    require_images(source.image_ids)
    measure = partial(_measure_image, source, MapTruth(source.truth, source.image_ids))
    outcomes = each_image(measure, source.image_ids)
    rows = list(outcomes)
    measures = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}
    return SaliencyMeasures(source, measures)


def _measure_image(
    source: Maps, pairs: MapTruth, image_id: int | str
) -> dict[str, np.ndarray | float]:
    """Numbers and curves of one image, as in ``SaliencyMeasures``."""
    found, truth = pairs.pair(source.predicted(image_id), "saliency")
    if not (found.min() >= 0 and found.max() <= 1):  # NaN fails as well
        problem = "the saliency map has values outside of 0..1, or NaN"
        raise ValueError(f"image {image_id!r}: {problem}")
    grey, salient = to_grey(found), truth > 128
    difference = grey.astype(np.int16) - truth
    return measure_pair(grey, truth) | {
        "area": float(salient.mean()),
        "digest": float(digest(truth)),
        "excess": float(np.maximum(difference, 0).mean() / 255),
        "lack": float(np.maximum(-difference, 0).mean() / 255),
        "binary": _wrong_shares(grey, salient),
    }


def _wrong_shares(grey: np.ndarray, salient: np.ndarray) -> np.ndarray:
    """Shares (T,) of pixels that are wrong where a map, over its own range, is cut at 0..255."""
    pixels = count_pairs(salient.view(np.uint8), grey)[:2]
    low, high = int(grey.min()), int(grey.max())
    levels = np.arange(256)
    if high > low:
        levels = ((levels - low) * 255 // (high - low)).clip(0, 255)
    is_found = levels[:, None] >= np.arange(256)
    wrong: np.ndarray = pixels[0] @ is_found + pixels[1] @ ~is_found
    return wrong / grey.size


def _measured(measures: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics (B,) by name, of weights (B, N)."""
    total = weights.sum(axis=1)

    sums = {name: weights @ measures[name] for name in AVERAGED}
    return metrics_of({name: (one.T / total).T for name, one in sums.items()})


def report_of(source: Maps, title: str) -> Report:
    """Report of saliency maps; see ``evidence_of`` for errors.

    Args:
        source: Saliency maps.
        title: Title of the page.
    """
    found = measure_maps(source)
    evidence, num = found.evidence(), len(source.image_ids)
    best = saliency_findings.best_threshold(found.measures)
    sections = [
        Section("Metrics", headline(evidence.intervals(list(METRICS)), num)),
        Section(THRESHOLDS, _thresholds(found.measures, best)),
        Section(ERRORS, [_errors(found.measures, best)]),
        Section(SIZES, [_sizes(found.measures, best)]),
        Section(IMAGES, _images(found, best)),
    ]
    findings = saliency_findings.find(found.measures)
    values = evidence.values() | {"pysod/threshold of Fmax": float(best)}
    return Report(title, f"Saliency maps of {counted(num, 'image')}", sections, findings, values)


def _thresholds(measures: Mapping[str, np.ndarray], best: int) -> list[Block]:
    """Curves over thresholds, and the best of them."""
    mean_of = {name: measures[name].mean(axis=0) for name in CURVES}
    steps = np.arange(256)
    caption = f"F is highest, {mean_of['F'][best]:.3f}, at the threshold {best} of 255."
    whole = (0.0, 1.0, 0.0, 1.0)
    pr = plots.line_plot(
        {"all images": (mean_of["recall"], mean_of["precision"])},
        x="recall",
        y="precision",
        alt="Precision over recall, means over images, one point for each threshold.",
        limits=whole,
    )
    names = {"F": "F-measure", "E": "E-measure", "precision": "precision", "recall": "recall"}
    curves = plots.line_plot(
        {text: (steps, mean_of[name]) for name, text in names.items()},
        x="threshold",
        y="mean over images",
        alt="F- and E-measure, precision and recall over the threshold.",
        caption=caption,
        limits=(0.0, 255.0, 0.0, 1.0),
    )
    rows: list[list[Cell]] = [
        [what, t, *(float(mean_of[name][t]) for name in names)]
        for what, t in (("best F", best), ("half", 128), ("best E", int(mean_of["E"].argmax())))
    ]
    table = Table(["threshold", "of 255", *names.values()], rows, "Each map over its own range.")
    return [pr, curves, table]


def _errors(measures: Mapping[str, np.ndarray], best: int) -> Table:
    """How the error splits into what is found wrongly and what is missed."""
    excess, lack = float(measures["excess"].mean()), float(measures["lack"].mean())
    precision, recall = (measures[name][:, best].mean() for name in ("precision", "recall"))
    total = max(excess + lack, np.finfo(float).tiny)
    rows: list[list[Cell]] = [
        ["found, but not salient", excess, excess / total, 1 - float(precision)],
        ["salient, but not found", lack, lack / total, 1 - float(recall)],
        ["both", excess + lack, 1.0, None],
    ]
    heads = ["error", "MAE", "share of the error", "share of pixels at the best threshold"]
    caption = (
        "Grey values as they are (protocol edn) split the MAE into excess and lack; at the best "
        "threshold the shares are of what is found, and of what is salient, means over images."
    )
    return Table(heads, rows, caption)


def _sizes(measures: Mapping[str, np.ndarray], best: int) -> Table:
    """F by the size of what is salient."""
    rows: list[list[Cell]] = []
    for name, chosen in saliency_findings.size_groups(measures["area"]).items():
        area = measures["area"][chosen]
        values = [measures["F"][chosen, best], measures["MAE"][chosen], measures["Sm"][chosen]]
        spans = f"{percent(area.min())} to {percent(area.max())}" if len(area) else ""
        rows.append([name, spans, len(area), *(mean(column) for column in values)])
    heads = ["salient objects", "of the image", "images", "F", "MAE", "S-measure"]
    return Table(heads, rows, "Thirds of the images by the area that is salient.")


def _images(found: SaliencyMeasures, best: int) -> list[Block]:
    """How F and MAE are spread over images, with the worst and the best of them."""
    f, error, ids = found.measures["F"][:, best], found.measures["MAE"], found.source.image_ids
    drawn: list[Plot] = []
    for values, name in ((f, "F at the best threshold"), (error, "MAE")):
        bins = np.linspace(0, 1 if values is f else max(float(error.max()), 0.1), 21)
        alt = f"Histogram of {name} of images."
        drawn.append(plots.histogram({"images": values}, bins=bins, x=name, alt=alt))
    measures = [f, error, found.measures["Sm"], found.measures["excess"], found.measures["lack"]]
    # Where nothing is salient F is 0 for all maps, and says nothing.
    ranked = np.where(found.measures["area"] > 0, f, np.nan)
    rows: list[list[Cell]] = [
        [str(ids[i]), *(float(column[i]) for column in measures)]
        for i in worst_first(ranked, num=_ROWS)
    ]
    heads = ["image", "F", "MAE", "S-measure", "found too much", "missed"]
    table = Table(heads, rows, "The images with the lowest F, worst first.")
    worst = worst_first(ranked, num=_WORST)
    chosen = [*worst, *(i for i in best_first(ranked, num=_BEST) if i not in worst)]
    captions = {ids[i]: f"{ids[i]}: F {f[i]:.3f}, MAE {error[i]:.3f}" for i in chosen}
    blocks: list[Block] = [*drawn, table]
    if blank := int((found.measures["area"] == 0).sum()):
        what = counted(blank, "annotation shows", "annotations show")
        text = f"{what} nothing salient; F is 0 there, whatever is predicted."
        blocks.append(Text([text]))
    caption = f"The {len(worst)} worst images, then the best."
    return [*blocks, *gallery(found.source, captions, caption=caption)]
