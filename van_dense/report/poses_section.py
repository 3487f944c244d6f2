"""The section of a report on single joints."""

from __future__ import annotations

import numpy as np

from van_dense.evaluation.pck import PCK, PckScores, evaluate_pck
from van_dense.report.blocks import Block, Cell, Finding, Section, Table
from van_dense.report.plots import bar_plot
from van_dense.report.poses import KINDS, JointErrors
from van_dense.report.sources import Objects
from van_dense.report.wording import NOTHING

TITLE = "Joints"


def pose_section(source: Objects, joints: JointErrors) -> Section:
    """What becomes of each joint.

    Args:
        source: Annotations and results.
        joints: Errors of the joints.
    """
    names, pck = _names(source, joints), _pck(source)
    rows: list[list[Cell]] = []
    for k, name in enumerate(names):
        count, total = joints.count[k], int(joints.count[k].sum())
        shares = [float(c / total) if total else np.nan for c in count]
        found = np.nan if pck is None else pck.per_joint[name][PCK]
        unfound = int(joints.unfound[k])
        rows.append([name, found, float(joints.similarity[k]), *shares, total, unfound])
    columns = ["joint", PCK, "mean KS", *KINDS, "annotated", "of unfound persons"]
    caption = (
        "Shares of the annotated joints of persons that were found (Ronchi and Perona 2017): good "
        "from KS 0.85 on, jitter from 0.5, inversions on the other side of the body, swaps on "
        "another person, missing anywhere else."
    )
    gains: list[list[Cell]] = [[kind, gain] for kind, gain in joints.gain.items()]
    blocks: list[Block] = [
        bar_plot(joints.gain, x="AP lost", alt="AP that each kind of error of joints costs"),
        Table(["error", "AP lost"], gains, "AP that the right places would add.", sorted_by=1),
        Table(columns, rows, caption),
    ]
    return Section(TITLE, blocks)


def pose_numbers(source: Objects, joints: JointErrors) -> dict[str, float]:
    """Numbers by flat name.

    Args:
        source: Annotations and results.
        joints: Errors of the joints.
    """
    total = joints.count.sum()
    found = {f"keypoints/AP lost: {kind}": gain for kind, gain in joints.gain.items()}
    for number, kind in enumerate(KINDS):
        share = joints.count[:, number].sum() / total if total else np.nan
        found[f"keypoints/share of {kind} joints"] = float(share)
    for name, similarity in zip(_names(source, joints), joints.similarity, strict=True):
        found[f"keypoints/KS of {name}"] = float(similarity)
    if (pck := _pck(source)) is not None:
        found |= {f"keypoints/{name}": value for name, value in pck.metrics.items()}
        found |= {f"keypoints/{PCK} of {n}": v[PCK] for n, v in pck.per_joint.items()}
    return found


def pose_findings(joints: JointErrors) -> list[Finding]:
    """The kind of error that costs most.

    Args:
        joints: Errors of the joints.
    """
    if not joints.count.sum():
        return []
    worst = max(joints.gain, key=lambda kind: joints.gain[kind])
    share = joints.count[:, KINDS.index(worst)].sum() / joints.count.sum()
    cost = joints.gain[worst]
    if not cost > NOTHING:
        return []
    what = {
        "jitter": "Joints a little beside their place",
        "inversion": "Joints on the wrong side of the body",
        "swap": "Joints on another person",
        "missing": "Joints far from any place of theirs",
    }[worst]
    hint = {
        "jitter": "larger crops, or finer decoding of heatmaps (model.codec), place them better",
        "inversion": "look at persons seen from behind, and check the flip pairs of the data",
        "swap": "look at crowded images, where the box of one person holds another",
        "missing": "look at the worst images: cut or hidden limbs, boxes that are too tight, or a "
        "training that was too short",
    }[worst]
    text = f"{what} ({share:.0%} of the annotated ones) cost {cost:.3f} AP, more than other errors"
    return [Finding(f"{text} of joints: {hint}.", cost, TITLE)]


def _names(source: Objects, joints: JointErrors) -> list[str]:
    return list(source.info.keypoint_names) or [f"joint {k}" for k in range(len(joints.count))]


def _pck(source: Objects) -> PckScores | None:
    """PCK, or None where the data set does not name its joints."""
    if not source.info.keypoint_names:
        return None
    return evaluate_pck(source.ground_truth, source.results, source.info)
