"""Converted segmenters of mmsegmentation give its logits."""

from __future__ import annotations

import pytest
import torch
from integrations.openmmlab.networks import NETWORKS
from torch.nn import functional

pytest.importorskip("mmseg", reason="mmseg is not installed: docs/openmmlab.md")

from integrations.openmmlab.published import batch_of, converted

SEGMENTERS = [name for name, network in NETWORKS.items() if network.package == "mmseg"]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_converted_segmenter_gives_the_same_logits(name, tmp_path):
    pair = converted(name, tmp_path)
    model = pair.ours
    for image, found in pair.images():
        window = known = image.shape[:2]
        if model.inference.mode == "slide":  # the first stride is seen by the first window alone
            window, known = model.inference.crop, model.inference.stride
        first = batch_of(image[: window[0], : window[1]], multiple=1)
        with torch.no_grad():
            logits = model.logits(model.preprocess(first))
        logits = functional.interpolate(logits, window, mode="bilinear")
        logits, wanted = (x[:, : known[0], : known[1]] for x in (logits[0], found["logits"]))
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-4)
        semantic = torch.as_tensor(model.predict(batch_of(image, multiple=1))[0].semantic)
        assert (semantic == found["labels"]).float().mean() > 0.9999
