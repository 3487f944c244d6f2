"""The backbone alone in a file: the same maps in other runtimes, for any size that it promises."""

import numpy as np
import pytest
import torch
from helpers.defaults import build_backbone, build_classifier

from van_dense.backbones.download import Normalization
from van_dense.deploy.backbone import backbone_network, exported_backbone, save_onnx_backbone

TINY = {"embed_dims": (4, 8, 12, 16), "depths": (1, 1, 1, 1)}
SIZES = [(1, 33, 47), (2, 64, 64), (3, 100, 65)]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    backbone = build_backbone("van_b0", options=TINY)
    backbone.statistics = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    return backbone_network(backbone)


def images(shape: tuple[int, int, int]) -> torch.Tensor:
    batch, *size = shape
    return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)


def test_pixels_are_normalised_with_the_statistics_of_the_weights(network):
    pixels = images((1, 64, 64))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in network.backbone.statistics)
    expected = network.backbone((pixels / 255 - mean) / std)
    for found, level in zip(network(pixels), expected, strict=True):
        torch.testing.assert_close(found, level, rtol=1e-4, atol=1e-5)


def test_maps_have_strides_4_to_32_and_uint8_and_float_pixels_are_one(network):
    pixels = images((1, 64, 96))
    maps = network(pixels)
    assert [m.shape[2:] for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert all(torch.equal(a, b) for a, b in zip(maps, network(pixels.float()), strict=True))


def test_a_map_at_stride_2_stays_inside():
    backbone = build_backbone("resnet18")
    backbone.add_stride_2()
    assert [m.shape[2] for m in backbone_network(backbone)(images((1, 64, 64)))] == [16, 8, 4, 2]


def test_of_a_classifier_a_copy_without_its_last_layer_is_taken():
    classifier = build_classifier("van_b0", 5, options=TINY).eval()
    maps = backbone_network(classifier)(images((1, 64, 64)))
    assert [m.shape[1] for m in maps] == [4, 8, 12, 16]
    assert classifier(torch.zeros(1, 3, 64, 64)).shape == (1, 5)  # still whole


def test_a_network_without_four_maps_is_refused():
    with pytest.raises(ValueError, match="strides"):
        backbone_network(build_classifier("vit_tiny_patch16_224", 5))


def test_maps_that_no_head_looks_at_are_left_out():
    backbone = build_backbone("vit_tiny_patch16_224", options={"depth": 1})
    backbone.leave_out(1)
    network = backbone_network(backbone)
    assert network.outputs == ("c3", "c4", "c5")
    assert [m.shape[2] for m in network(images((1, 64, 64)))] == [8, 4, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_small_patch16_dinov3", None),
        ("samvit_base_patch16_224", None),
        ("vit_small_patch14_dinov2", (64, 96)),
    ],
)
def test_files_of_plain_vits_hold_the_same_maps(name, size, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = backbone_network(build_backbone(name, options={"depth": 1}))
    save_onnx_backbone(network, tmp_path / "vit.onnx", size=size)
    session = onnxruntime.InferenceSession(str(tmp_path / "vit.onnx"))
    pixels = images((1, 64, 96))
    maps = session.run(None, {"images": pixels.numpy()})
    for found, expected in zip(maps, network(pixels), strict=True):
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_a_file_of_patches_of_14_pixels_asks_for_a_size(tmp_path):
    pytest.importorskip("onnxscript")
    network = backbone_network(build_backbone("vit_small_patch14_dinov2", options={"depth": 1}))
    with pytest.raises(ValueError, match=r"patches of 14 pixels.*--size HEIGHT WIDTH"):
        save_onnx_backbone(network, tmp_path / "vit.onnx")


@pytest.mark.parametrize("shape", SIZES)
def test_torch_export_keeps_batch_and_size_open(program, network, shape):
    pixels = images(shape)
    for found, expected in zip(program.module()(pixels), network(pixels), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def program(network):
    return exported_backbone(network)


@pytest.fixture(scope="module")
def onnx_file(network, tmp_path_factory):
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("onnx") / "backbone.onnx"
    save_onnx_backbone(network, path)
    return path


@pytest.mark.parametrize("shape", SIZES)
def test_an_onnx_file_gives_the_same_maps_by_name(onnx_file, network, shape):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(onnx_file)
    assert [output.name for output in session.get_outputs()] == ["c2", "c3", "c4", "c5"]
    pixels = images(shape)
    found = session.run(None, {"images": pixels.numpy()})
    for one, expected in zip(found, network(pixels), strict=True):
        np.testing.assert_allclose(one, expected.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_wrong_types_and_sizes_are_explained(network):
    with pytest.raises(ValueError, match=r"give torch\.uint8 or torch\.float32"):
        exported_backbone(network, dtype=torch.float16)
    with pytest.raises(ValueError, match="takes multiples of 32"):
        exported_backbone(backbone_network(build_backbone("convnext_atto")), size=(64, 70))
