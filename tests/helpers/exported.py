"""ONNX files of tiny networks, and predictions that must be the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_pose import make_batch, noise
from pycocotools import mask as mask_utils

from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.deploy.card import Card
from van_dense.deploy.network import Network, Run
from van_dense.deploy.runtime import open_file
from van_dense.deploy.write import write_onnx

PIXELS, SCORE = 1e-3, 1e-5  # tolerance of boxes and joints, and of scores


def onnx_run(network: Network, folder: Path) -> Run:
    """Export a network, and run it in ONNX Runtime."""
    pytest.importorskip("onnxruntime")
    return open_file(exported_file(network, folder), "onnxruntime").runner(())


def exported_file(network: Network, folder: Path, size: Size = (64, 96)) -> Path:
    """The ONNX file of a network, with a card that says little."""
    pytest.importorskip("onnxscript")
    texts = dict.fromkeys(("config", "version", "config_sha256", "checkpoint_sha256"), "")
    card = Card(info={}, step=0, outputs=network.outputs, multiple=32, **texts)
    file = folder / "network.onnx"
    write_onnx(network.eval(), network.example(size), file, card)
    return file


def images_of(*sizes: Size, **fields: Any) -> Batch:
    """Noise of these sizes, padded on the right and below with what must not be seen."""
    return make_batch(*(noise(*size, seed=i) for i, size in enumerate(sizes)), **fields)


def assert_same(ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> None:
    """The same predictions: 1e-3 px, 1e-5 in scores, and 1 pixel in 1000 of masks and maps."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.image_id, a.size) == (b.image_id, b.size)
        for name in ("semantic", "panoptic"):
            maps = getattr(a, name), getattr(b, name)
            assert (maps[0] is None) == (maps[1] is None)
            if maps[0] is not None:
                assert (maps[0] != maps[1]).mean() <= 1e-3
        _assert_same_segments(a, b)
        if a.saliency is not None:
            assert np.abs(a.saliency - b.saliency).max() < SCORE
        if a.class_scores is not None:
            assert (a.class_scores - b.class_scores).abs().max() < SCORE
        assert (a.instances is None) == (b.instances is None)
        if a.instances is not None:
            _assert_same_instances(a.instances, b.instances)


def _assert_same_segments(a: Prediction, b: Prediction) -> None:
    if a.segments is None:
        assert b.segments is None
        return
    assert [(s["id"], s["label"]) for s in a.segments] == [
        (s["id"], s["label"]) for s in b.segments
    ]
    scores = [[s["score"] for s in one.segments] for one in (a, b)]
    assert np.allclose(*scores, rtol=0, atol=1e-3)  # means over pixels, some of which may differ


def _assert_same_instances(ours: Instances, theirs: Instances) -> None:
    """Each has a partner of its class; their order says nothing among equal scores."""
    assert len(ours) == len(theirs)
    left = torch.ones(len(theirs), dtype=torch.bool)
    for index in range(len(ours)):
        apart = (theirs.boxes - ours.boxes[index]).abs().amax(dim=1)
        differs = (theirs.scores - ours.scores[index]).abs()
        fits = left & (theirs.labels == ours.labels[index]) & (apart < PIXELS) & (differs < SCORE)
        assert fits.any(), f"detection {index} has no partner"
        partner = int(fits.nonzero()[0])
        left[partner] = False
        if ours.keypoints is not None:
            assert (ours.keypoints[index] - theirs.keypoints[partner]).abs().max() < PIXELS
        if ours.masks is not None:
            pair = [ours.masks[index], theirs.masks[partner]]
            either, both = (
                mask_utils.area(mask_utils.merge(pair, intersect=is_both))
                for is_both in (False, True)
            )
            assert either - both <= 1e-3 * np.prod(pair[0]["size"])


def mostly_slow(kinds: Iterable[str], fast: str) -> list[Any]:
    """Parameters of a fixture that exports, which takes some ten seconds: one alone is fast."""
    return [pytest.param(kind, marks=() if kind == fast else pytest.mark.slow) for kind in kinds]
