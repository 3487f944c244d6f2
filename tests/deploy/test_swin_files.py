"""Files of models on Swin, whose maps are padded to whole windows, take images of any size."""

import pytest
from helpers.exported import assert_same, images_of, onnx_run
from helpers.tiny_models import tiny_model

from van_dense.deploy.networks import network_of

TINY = "{embed_dim: 8, depths: [2, 2, 2, 2], num_heads: [1, 2, 2, 4]}"


@pytest.mark.slow
def test_the_file_of_a_segmenter_agrees_for_other_sizes(tmp_path) -> None:
    options = ("model.backbone.name=swin_tiny_dense", f"model.backbone.options={TINY}")
    model = tiny_model("semantic-semantic_fpn", *options)
    network = network_of(model)
    run = onnx_run(network, tmp_path)
    for sizes in ([(64, 96)], [(128, 160)] * 2, [(256, 512)], [(224, 224)]):
        batch = images_of(*sizes)
        assert_same(network.predict(run, batch), model.predict(batch))
