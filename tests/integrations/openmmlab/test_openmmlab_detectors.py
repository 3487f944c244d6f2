"""Converted detectors of mmdetection find what mmdetection finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.same_detections import assert_same_detections
from integrations.openmmlab.networks import NETWORKS
from pycocotools import mask as mask_utils

from van_dense.core.structures import Instances

pytest.importorskip("mmdet", reason="mmdet is not installed: docs/openmmlab.md")

from integrations.openmmlab.published import batch_of, converted

DETECTORS = [name for name, network in NETWORKS.items() if network.package == "mmdet"]


@pytest.mark.parametrize("name", DETECTORS)
def test_a_converted_detector_finds_the_same_objects(name, tmp_path):
    pair = converted(name, tmp_path)
    assert "whole detector (mmdetection layout)" in pair.said
    assert "message_hub left aside" in pair.said
    for image, found in pair.images():
        with torch.no_grad():
            ours = pair.ours.predict(batch_of(image, multiple=32))[0].instances
        assert_same_detections(ours, theirs_of(image, found))


def theirs_of(image: torch.Tensor, found: dict[str, torch.Tensor]) -> Instances:
    """What mmdetection found; its Sparse R-CNN alone leaves boxes beyond the border."""
    height, width = image.shape[:2]
    limits = torch.tensor([width, height, width, height])
    masks = None
    if "masks" in found:
        bitmaps = found["masks"].permute(1, 2, 0).numpy().astype(np.uint8)
        masks = mask_utils.encode(np.asfortranarray(bitmaps))
    boxes = found["boxes"].clamp(min=0).minimum(limits)
    return Instances(boxes=boxes, labels=found["labels"], scores=found["scores"], masks=masks)
