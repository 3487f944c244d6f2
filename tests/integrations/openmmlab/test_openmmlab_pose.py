"""Converted SimpleBaseline networks of mmpose find the same keypoints."""

from __future__ import annotations

import pytest
from integrations.openmmlab.networks import NETWORKS

pytest.importorskip("mmpose", reason="mmpose is not installed: docs/openmmlab.md")

from integrations.openmmlab.published import converted

POSE = [name for name, network in NETWORKS.items() if network.package == "mmpose"]


@pytest.mark.parametrize("name", POSE)
def test_a_converted_pose_network_finds_the_same_keypoints(name, tmp_path):
    pair = converted(name, tmp_path)
