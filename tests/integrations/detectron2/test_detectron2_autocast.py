"""Under autocast boxes stay where they are on the Detectron2 engine, too."""

from __future__ import annotations

import pytest
import torch
from helpers.defaults import ALIGN

from van_dense.config.engine import has_detectron2
from van_dense.models.detection.roi_heads import BOX_POOL

if not has_detectron2():
    pytest.skip("Detectron2 is not installed", allow_module_level=True)

from detectron2.structures import Boxes

from van_dense.integrations.detectron2.parts import SeededRetinaNet
from van_dense.integrations.detectron2.rcnn import _pooler


def test_regions_of_large_images_are_cut_out_as_by_our_own_pooling():
    torch.manual_seed(0)
    maps = [torch.rand(1, 2, 8, 1344 // s).cumsum(3).bfloat16() for s in (4, 8, 16, 32)]
    boxes = torch.tensor([[1201.3, 3.2, 1330.9, 30.1], [805.7, 1.0, 1011.2, 25.5]])
    with torch.autocast("cpu", torch.bfloat16):
        ours = ALIGN(maps, [boxes], output=BOX_POOL)
        theirs = _pooler(ALIGN, BOX_POOL)(maps, [Boxes(boxes)])
    assert theirs.dtype == torch.bfloat16
    torch.testing.assert_close(theirs.float(), ours.float(), rtol=0.01, atol=0.5)


def test_an_image_without_positives_counts_none_in_the_mean_over_processes(monkeypatch):
    counts = []
    monkeypatch.setattr(
        "van_dense.integrations.detectron2.parts.synced_count",
        lambda count, _: counts.append(count) or torch.tensor(1.0),
    )
    model = SeededRetinaNet.__new__(SeededRetinaNet)
    torch.nn.Module.__init__(model)
    model.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
    model._num_positive = 0
    model._ema_update("loss_normalizer", max(0, 1), 100)  # as Detectron2 calls it
    assert counts == [0]
