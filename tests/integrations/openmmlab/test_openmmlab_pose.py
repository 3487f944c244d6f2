"""Converted SimpleBaseline networks of mmpose find the same keypoints."""

from __future__ import annotations

import pytest
import torch
from integrations.openmmlab.networks import NETWORKS

from van_dense.core.crops import apply, invert, regions_of_boxes, to_crop

pytest.importorskip("mmpose", reason="mmpose is not installed: docs/openmmlab.md")

from integrations.openmmlab.published import converted

POSE = [name for name, network in NETWORKS.items() if network.package == "mmpose"]


@pytest.mark.parametrize("name", POSE)
def test_a_converted_pose_network_finds_the_same_keypoints(name, tmp_path):
    """In mmpose's own crops, whose pixels it counts: the first one is at 0 there, at 0.5 here."""
    pair = converted(name, tmp_path)
    model = pair.ours
    for _, found in pair.images():
        crops = found["crops"] * model.preprocess.std + model.preprocess.mean
        with torch.no_grad():
            heatmaps = model.heatmaps(crops.round())
        torch.testing.assert_close(heatmaps, found["heatmaps"], rtol=0, atol=1e-4)
        points, scores = model.codec.decode(heatmaps, model.crop.size)
        torch.testing.assert_close(scores, found["scores"], rtol=0, atol=1e-4)
        regions = regions_of_boxes(found["boxes"].numpy(), model.crop.size, model.crop.padding)
        in_image = apply(invert(to_crop(regions, model.crop.size)), points.numpy() - 0.5)
        assert abs(in_image - found["keypoints"].numpy()).max() < 0.05
