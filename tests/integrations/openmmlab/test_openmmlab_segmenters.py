"""Converted segmenters of mmsegmentation give its logits."""

from __future__ import annotations

import pytest
import torch
from integrations.openmmlab.networks import NETWORKS

pytest.importorskip("mmseg", reason="mmseg is not installed: docs/openmmlab.md")

from integrations.openmmlab.published import batch_of, converted

SEGMENTERS = [name for name, network in NETWORKS.items() if network.package == "mmseg"]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_converted_segmenter_gives_the_same_logits(name, tmp_path):
    pair = converted(name, tmp_path)
    for image, found in pair.images():
        batch = batch_of(image, multiple=1)
        with torch.no_grad():
            logits = pair.ours.logits(pair.ours.preprocess(batch))
            logits = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear")
        torch.testing.assert_close(logits[0], found["logits"], rtol=0, atol=1e-4)
        semantic = pair.ours.predict(batch)[0].semantic
        assert (semantic == found["labels"]).float().mean() > 0.9999
