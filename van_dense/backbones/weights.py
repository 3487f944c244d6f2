"""Backbone weights: loading them, and a report of what was loaded."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
from torch import Tensor, nn

from van_dense.backbones.build import TimmModel
from van_dense.backbones.download import (
    HUB,
    PUBLISHED,
    Normalization,
    fetch_weights,
    published_file,
)
from van_dense.backbones.layouts import (
    DETECTORS,
    State,
    check_relative,
    detect_layout,
    split_official,
    strip_prefix,
)
from van_dense.backbones.read import read_file, unwrap
from van_dense.backbones.statistics import statistics_of
from van_dense.backbones.unireplknet import UniRepLKNet
from van_dense.backbones.van import VAN
from van_dense.core.counting import counted
from van_dense.core.quiet import errors_only

logger = logging.getLogger(__name__)

_GATE = 95.0  # percent of the backbone's parameter elements that must come from the file
_CONVERT = (
    " It is a whole detector of another code base: bring it here first, van-dense convert "
    "FILE ours.pt --project PROJECT"
)
_SAME_STATISTICS = 0.005  # closer than this, two roundings of the same


@dataclass
class LoadReport:
    """What happened to every entry of a backbone and of a file."""

    layout: str  #: layout of the file, or "plain" for the model's own names
    matched: list[str] = field(default_factory=list)  #: keys that are loaded
    #: keys whose shapes disagree, with both shapes; not loaded
    reshaped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  #: keys of the backbone that the file lacks
    new: list[str] = field(default_factory=list)  #: of the backbone, that no classifier has
    unexpected: list[str] = field(default_factory=list)  #: of the file that the backbone lacks
    #: the classifier's keys, with what happened to them; no part of the backbone
    head: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  #: of other parts, such as decode heads
    elements: int = 0  #: number of parameter elements of the backbone
    coverage: float = 0.0  #: percent of these elements that the file fills
    normalization: Normalization | None = None  #: of the images expected; None where unknown

    def random_head(self) -> list[str]:
        """Entries of the model's own classifier that the file does not fill: they stay random."""
        return [entry for entry in self.head if not entry.endswith((" matched", " unexpected"))]

    def mismatch(self, mean: Sequence[float], std: Sequence[float]) -> str | None:
        """Explain that images normalised like this are not what the weights expect, or None.

        Mean and standard deviation are of each channel, RGB, of pixels in 0..1.
        """
        expected = self.normalization
        if expected is None or np.allclose((mean, std), expected, atol=_SAME_STATISTICS):
            return None
        return (
            f"the weights expect images normalised with mean {expected.mean} and std "
            f"{expected.std}, but model.backbone.mean is {tuple(mean)} and model.backbone.std "
            f"{tuple(std)}; unless you mean it, set both to what the weights expect: the wrong "
            "statistics cost VAN-B0 3 points of top-1 on ImageNet, without any other sign"
        )

    def __str__(self) -> str:
        lines = [
            f"weights ({self.layout} layout) fill {self.coverage:.1f} % of "
            f"{self.elements / 1e6:.2f} M backbone parameters"
        ]
        for name in ("matched", "reshaped", "missing", "new", "unexpected", "head", "ignored"):
            keys = getattr(self, name)
            if name == "new" and not keys:
                continue
            shown = [] if name == "matched" else keys[:3]
            more = f", ... and {len(keys) - 3} more" if len(keys) > 3 and shown else ""
            lines.append(f"  {name:<10} {len(keys):>5}  {', '.join(shown)}{more}".rstrip())
        if self.random_head():
            lines.append("  the classifier stays random, see head")
        return "\n".join(lines)


def load_pretrained(model: nn.Module, source: str) -> LoadReport:
    """Load the weights that a config names, and report every key, or ValueError if they do not fit.

    Args:
        model: A ``TimmModel``, whose ``body`` is filled, or a timm model itself. A classifier is
            filled where the file's has the same number of classes, and listed under ``head`` where
            not.
        source: A published name such as ``van_b2_in1k``, a file, a checkpoint of this package, or
            ``timm`` for the weights that timm offers under the backbone's own name and tag.
    """
    normalization: Normalization | None
    if source == "timm":
        state, normalization = _of_timm(_body_of(model).pretrained_cfg)
    else:
        path = fetch_weights(source)
        content = read_file(path)
        state = unwrap(content, path)
        normalization = _normalization_of(content, path) or _usual(_body_of(model))
    report = load_backbone(model, state)
    if report.reshaped:  # as tables of positions for another size of image
        logger.warning(
            "%s has %s of another shape than the backbone, where they stay random: %s",
            source,
            counted(len(report.reshaped), "entry"),
            ", ".join(report.reshaped[:3]),
        )
    report.normalization = normalization
    return report


def _usual(body: Any) -> Normalization | None:
    """What timm says of a model's name; None for VAN, whose weights were trained with either."""
    cfg = getattr(body, "pretrained_cfg", None)
    if not cfg or isinstance(body, VAN):
        return None
    return Normalization(tuple(cfg["mean"]), tuple(cfg["std"]))


def _body_of(model: nn.Module) -> Any:
    return model.body if isinstance(model, TimmModel) else model


def _of_timm(cfg: Mapping[str, Any]) -> tuple[State, Normalization]:
    name = ".".join(part for part in (cfg["architecture"], cfg.get("tag")) if part)
    try:  # a number of classes that is not the published one would make timm drop the classifier
        logger.info("fetching timm's weights of %s; without a network this takes a minute", name)
        classes = cfg.get("num_classes", 0)
        with errors_only(HUB):
            model = timm.create_model(name, pretrained=True, num_classes=classes)
    except (RuntimeError, OSError) as error:  # none published, or no network
        lacks = f"timm cannot give weights for {name} ({error})"
        raise ValueError(f"model.backbone.weights: {lacks}; name a file instead") from error
    return model.state_dict(), Normalization(tuple(cfg["mean"]), tuple(cfg["std"]))


def _normalization_of(content: object, path: Path) -> Normalization | None:
    """What a checkpoint of ours was trained with, or what a published file expects, by its name."""
    if isinstance(content, Mapping) and {"format", "config", "info"} <= content.keys():
        model = content["config"]["model"]
        backbone = {**model, **model["backbone"]}  # classifiers of 0.1 have them one level up
        return statistics_of(backbone["name"], backbone.get("mean"), backbone.get("std"))
    published = published_file(path)
    return None if published is None else published.normalization


def stated_statistics(source: str, classifies: bool) -> Normalization | None:
    """What weights that a config names say of the pixels they expect; None where they do not.

    Args:
        source: As ``load_pretrained`` takes it; a file is read where it can be one of ours.
        classifies: Does a published name state what it was trained with?
    """
    if source in PUBLISHED:
        return PUBLISHED[source].normalization if classifies else None
    path = Path(source)
    return _normalization_of(read_file(path), path) if path.is_file() else None


def load_backbone(model: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Copy weights into a backbone, or into a timm model, and report every key.

    When less than 95 % of its parameters come from ``state``: ValueError, an unchanged model.

    Args:
        model: A ``TimmModel``, whose ``body`` is filled, or a timm model itself.
        state: Tensors of the file, as ``read_state`` returns them. For VAN and its relatives in any
            layout; for other models under timm's names, after ``module.``, ``backbone.`` or
            ``body.`` if any.
    """
    body = _body_of(model)
    report, matched = compare(body, state)
    if report.coverage < _GATE:
        is_detector = any(key.startswith(tuple(DETECTORS.values())) for key in state)
        raise ValueError(
            f"the weights do not fit this backbone: at least {_GATE:.0f} % of its parameters must "
            f"come from the file.{_CONVERT if is_detector else ''}\n{report}"
        )
    body.load_state_dict(matched, strict=False)
    return report


def compare(body: nn.Module, state: Mapping[str, Tensor]) -> tuple[LoadReport, State]:
    """Report what ``state`` would fill in a timm model, and return the tensors that fit."""
    own = body.state_dict()
    report = LoadReport(layout="plain")
    if isinstance(body, UniRepLKNet):
        body.check_form(state)
    if isinstance(body, VAN):  # or a relative
        report.layout = detect_layout(state)
        state, report.ignored = split_official(state)
        check_relative(own, state)
    else:
        state = _in_names_of_timm(body, state)
    head = _head_prefixes(body)
    for key in dict.fromkeys((*own, *state)):
        outcome, shapes = _outcome(own.get(key), state.get(key))
        if outcome == "missing" and key.startswith(getattr(body, "new_in_backbones", ())):
            outcome = "new"
        if key.startswith(head):
            report.head.append(f"{key} {outcome}{shapes}")
        else:
            getattr(report, outcome).append(key + shapes)
    fitting = _fitting(own, state)
    no_part = (*head, *report.new)
    sizes = {k: p.numel() for k, p in body.named_parameters() if not k.startswith(no_part)}
    report.elements = sum(sizes.values())
    report.coverage = 100.0 * sum(sizes[k] for k in sizes.keys() & fitting) / report.elements
    return report, fitting


def _in_names_of_timm(body: nn.Module, state: Mapping[str, Tensor]) -> State:
    """Entries of a file as timm's own loading would have them, where the model lacks some as it is.

    timm renames those of the authors' files, as of DINOv3 and SAM, and resamples position
    embeddings and tables of relative positions of other image sizes.
    """
    own = body.state_dict()
    plain = {k if k in own else strip_prefix(k): v for k, v in state.items()}
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if convert is None or len(_fitting(own, plain)) == len(own):
        return plain
    try:
        converted = convert(dict(plain), body)
    except (KeyError, IndexError, AttributeError, RuntimeError, ValueError):
        return plain  # no file that timm has a rule for; the report says what is missing
    return max(plain, converted, key=lambda found: len(_fitting(own, found)))


def _fitting(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> State:
    return {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}


def _outcome(own: Tensor | None, loaded: Tensor | None) -> tuple[str, str]:
    if loaded is None:
        return "missing", ""
    if own is None:
        return "unexpected", ""
    if own.shape != loaded.shape:
        return "reshaped", f" (file {tuple(loaded.shape)}, model {tuple(own.shape)})"
    return "matched", ""


def _head_prefixes(body: nn.Module) -> tuple[str, ...]:
    """Beginnings of the classifier's keys, as timm's data about the model name them."""
    names = getattr(body, "pretrained_cfg", {}).get("classifier") or "head"
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
