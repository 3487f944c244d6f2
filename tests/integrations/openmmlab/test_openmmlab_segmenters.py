"""Converted segmenters of mmsegmentation give its logits."""

from __future__ import annotations

import pytest
import torch
from integrations.openmmlab.networks import NETWORKS

from van_dense.models.segmentation.map_inference import views_of

pytest.importorskip("mmseg", reason="mmseg is not installed: docs/openmmlab.md")

from integrations.openmmlab.published import batch_of, converted

SEGMENTERS = [name for name, network in NETWORKS.items() if network.package == "mmseg"]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_converted_segmenter_gives_the_same_logits(name, tmp_path):
    pair = converted(name, tmp_path)
    model = pair.ours
    for image, found in pair.images():
        size, pixels = (image.shape[0], image.shape[1]), image.permute(2, 0, 1)
        network, inference = model.padded("image"), model.inference
        with torch.no_grad():
            [view] = views_of(pixels, size, network=network, inference=inference)
            logits = view.at(*map(torch.arange, size))
        # Swin's are 1e-4 from float64 on both sides, of values up to 40; in float64 both are one.
        atol = max(1e-4, 5e-6 * float(found["logits"].abs().max()))
        torch.testing.assert_close(logits, found["logits"], rtol=0, atol=atol)
        semantic = torch.as_tensor(model.predict(batch_of(image, multiple=32))[0].semantic)
        assert (semantic == found["labels"]).float().mean() > 0.9999
