"""Files of pose models give what the models give, with each codec, and with any number of boxes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.exported import assert_same, images_of, mostly_slow, onnx_run
from helpers.toy_pose import CROP, FLIP, SCORING, Eye, boxes, make_batch
from torch import Tensor, nn

from van_dense.core.structures import Batch
from van_dense.deploy.networks import network_of
from van_dense.models.pose import top_down
from van_dense.models.pose.heatmap import build_codec
from van_dense.models.pose.top_down import CropGeometry, TopDownPose

CODECS = ("msra", "dark", "udp")
SPOTS = [(1, (0, 20, 30)), (1, (1, 60, 45)), (1, (2, 35, 70))]  # joint, y, x


class Pixels(nn.Module):
    """A backbone that hands on the pixels, 0..255, of its crops."""

    statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images * 255]


def pose_model(codec: str, flip: list[int] | None = None, head: nn.Module | None = None):
    return TopDownPose(
        Pixels(),
        head or Eye(),
        codec=build_codec(codec, 2.0),
        crop=CropGeometry(CROP, 1.25),
        flip_order=flip,
        scoring=replace(SCORING, nms="none"),
    ).eval()


def painted(height: int, width: int, shift: float = 0.0) -> Tensor:
    """A red, a green and a blue spot, each of which is a joint."""
    y, x = torch.arange(height)[:, None], torch.arange(width)
    centres = ((20 + shift, 30.3), (60.4, 45 - shift), (35.7, 70.6 - shift))
    spots = [torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 128) for cy, cx in centres]
    return (torch.stack(spots) * 250).round().to(torch.uint8)


def people() -> Batch:
    """Three images of odd sizes with three boxes, with none, and with one beyond the border."""
    found = [
        boxes((5, 4, 80, 85.5), (-20.5, 10, 70, 130.2), (30, 20, 33, 26), scores=[0.9, 0.8, 0.7]),
        boxes(),
        boxes((0, 0, 87, 71), scores=[0.5]),
    ]
    return make_batch(painted(91, 103), painted(64, 64), painted(71, 87, 2.5), proposals=found)


@pytest.fixture(scope="module", params=mostly_slow(CODECS, "udp"))
def exported(request, tmp_path_factory):
    network = network_of(pose_model(request.param, FLIP))
    return network, onnx_run(network, tmp_path_factory.mktemp("pose"))


@pytest.mark.parametrize("flip", [None, FLIP], ids=["plain", "flipped"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_network_of_a_pose_model_finds_what_the_model_finds(codec, flip):
    model = pose_model(codec, flip)
    network = network_of(model)
    found = model.predict(people())
    assert [len(one.instances) for one in found] == [3, 0, 1]
    assert found[2].instances.keypoints[..., 2].min() > 0.3
    assert_same(network.predict(network.run, people()), found)


def test_an_image_without_proposals_is_one_box():
    model = pose_model("udp")
    network = network_of(model)
    batch = make_batch(painted(91, 103))
    assert_same(network.predict(network.run, batch), model.predict(batch))


def test_nobody_at_all_runs_nothing():
    def run(*_: Tensor, **__: Tensor):
        raise AssertionError

    network = network_of(pose_model("msra"))
    (found,) = network.predict(run, make_batch(painted(64, 64), proposals=[boxes()]))
    assert len(found.instances) == 0


def test_many_boxes_come_some_at_a_time(monkeypatch):
    monkeypatch.setattr(top_down, "CHUNK", 2)
    network, given = network_of(pose_model("udp")), []

    def run(images: Tensor, sizes: Tensor, **more: Tensor):
        given.append((tuple(sizes[0].tolist()), len(more["boxes"])))
        return network.run(images, sizes, **more)

    assert_same(network.predict(run, people()), network.model.predict(people()))
    assert given == [((91, 103), 2), ((91, 103), 1), ((71, 87), 1)]


def test_joints_that_are_not_finite_name_the_image():
    class Broken(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return torch.full((len(pixels), 3, 32, 24), torch.nan)

    network = network_of(pose_model("udp", head=Broken()))
    with pytest.raises(ValueError, match="non-finite outputs for the images \\['image 0'\\]"):
        network.predict(network.run, make_batch(painted(64, 64)))


def test_the_file_of_a_pose_model_agrees_for_any_size_and_number_of_boxes(exported):
    network, run = exported
    assert_same(network.predict(run, people()), network.model.predict(people()))
    for size in [(64, 64), (97, 131), (33, 45)]:
        batch = images_of(size, proposals=[boxes((3, 4, 30.5, 31))])
        assert_same(network.predict(run, batch), network.model.predict(batch))
