"""Numbers that are not finite are an error of a file as of its run, and not fewer detections.

So it is in ONNX Runtime, which computes the files here. OpenVINO's ReLU makes 0 of NaN: detectors,
which look at their maps too, say so there as well; semantic, saliency and pose files do not.
"""

from __future__ import annotations

import pytest
import torch
from helpers.exported import images_of, mostly_slow, onnx_run
from helpers.tiny_models import tiny_model

from van_dense.deploy.networks import network_of
from van_dense.models.dense_model import DenseModel

LAST = {  # what gives scores, by kind
    "classification-van": "backbone.",
    "detection-atss": "class_logits",
    "detection-cascade_maskrcnn": "stages.1.box.class_logits",
    "detection-gfl": "class_logits",
    "detection-maskrcnn": "box.class_logits",
    "detection-retinanet": "head.class_logits",
    "detection-sparsercnn": "class_logits",
    "panoptic-panoptic_fpn": "rpn.head.cls_logits",
    "saliency-edn": "decoder.outputs.0",
    "semantic-semantic_fpn": "conv_seg",
}


def broken(kind: str, part: str) -> DenseModel:
    """A model with a weight of NaN in the first layer of this part."""
    model = tiny_model(kind)
    named = [(n, p) for n, p in model.named_parameters() if part in n and p.ndim > 1]
    assert named
    named[0][1].data[0] = torch.nan
    return model


@pytest.mark.parametrize("part", ["first", "last"])
@pytest.mark.parametrize("kind", LAST)
def test_a_network_says_so_as_the_model(kind, part):
    model = broken(kind, "backbone." if part == "first" else LAST[kind])
    network, batch = network_of(model), images_of((64, 64), (64, 64))
    for predict in (model.predict, lambda given: network.predict(network.run, given)):
        with pytest.raises(ValueError, match=r"non-finite outputs for the images \['image 0'"):
            predict(batch)


@pytest.mark.parametrize("kind", mostly_slow(LAST, "detection-retinanet"))
def test_a_file_says_so(kind, tmp_path):
    network = network_of(broken(kind, "backbone."))
    with pytest.raises(ValueError, match="non-finite outputs"):
        network.predict(onnx_run(network, tmp_path), images_of((64, 64)))
