"""Views work for a network of every task and kind of backbone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from van_dense.api import Loaded, build_model
from van_dense.config import load_config
from van_dense.explain.views import attention_pages, features_pages, field_view
from van_dense.tasks import TASKS

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
OPTIONS = {"van_b0": "{}", "swin_tiny_patch4_window7_224": "{embed_dim: 12}", "resnet18": "{}"}
TASK_PROJECTS = {
    "retinanet_van_b0": ["model.fpn.channels=16", "data.transforms.test_short_side=64"],
    "semfpn_van_b0": ["data.transforms.test_scale=[128, 64]"],
    "saliency_van_b1": ["data.transforms.size=[64, 64]"],
    "pose_van_b0_256x192": ["data.transforms.size=[64, 96]"],
    "classify_van_b0_in1k": ["data.transforms.size=64"],
}


def network(project: str = "semfpn_van_b0", name: str = "van_b0") -> Loaded:
    torch.manual_seed(0)
    backbone = [f"model.backbone.name={name}", f"model.backbone.options={OPTIONS[name]}"]
    config = load_config(
        PROJECTS / f"{project}.yaml",
        [*backbone, "model.backbone.weights=null", *TASK_PROJECTS[project]],
    )
    info = TASKS[config.task].dataset_info(config)
    return Loaded(build_model(config).eval(), config, info, 0, torch.device("cpu"))


def photo(height: int = 50, width: int = 75) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("project", TASK_PROJECTS)
def test_every_task_has_every_view(project):
    loaded = network(project)
    for view in (attention_pages, features_pages):
        (page,) = view(loaded, [photo()])
        assert min(page.size) > 100
    assert min(field_view(loaded, [photo()], size=(64, 64)).size) > 100


@pytest.mark.parametrize("project", ["semfpn_van_b0", "classify_van_b0_in1k"])
@pytest.mark.parametrize("name", list(OPTIONS)[1:])
def test_other_backbones_have_features_and_a_field_but_no_attention(project, name):
    loaded = network(project, name)
    assert len(list(features_pages(loaded, [photo(), photo(33, 40)]))) == 1
    field_view(loaded, [photo()], size=(64, 64))
    with pytest.raises(ValueError, match="only VAN has it"):
        next(attention_pages(loaded, [photo()]))


def test_grey_files_and_odd_sizes_are_drawn(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(photo(37, 91)[..., 0]).save(path)
    loaded = network()
    one, two = (next(attention_pages(loaded, [path] * count)) for count in (1, 2))
    assert two.height > one.height
    next(features_pages(loaded, [path], layers=["block3.0", "backbone.body.norm2"]))
    field_view(loaded, [path], size=(45, 70))


def test_networks_are_compared_in_one_figure_with_numbers_in_a_file(tmp_path):
    networks = {"VAN": network(), "ResNet": network(name="resnet18")}
    numbers = tmp_path / "new" / "field.json"
    two = field_view(networks, [photo()], size=(64, 64), numbers=numbers)
    assert two.width > field_view(networks["VAN"], [photo()], size=(64, 64)).width
    found = json.loads(numbers.read_text(encoding="utf-8"))
    assert list(found) == ["VAN", "ResNet"]
    assert [square["threshold"] for square in found["VAN"]["squares"]] == [0.2, 0.3, 0.5, 0.99]
    (page,) = features_pages(networks, [photo()])
    assert page.width > two.width / 2


def test_an_array_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"expected uint8 \(height, width, 3\) .* uint8 \(4, 4\)"):
        next(features_pages(network(), [np.zeros((4, 4), dtype=np.uint8)]))


def test_many_images_make_pages_on_which_colours_mean_the_same():
    loaded, images = network(), [photo(64, 64)] * 14
    first, second, *_ = features_pages(loaded, images, layers=["block1.0"])
    inside = np.s_[:300, 50:650]  # of the first row, beside its title
    np.testing.assert_array_equal(np.array(first)[inside], np.array(second)[inside])
    assert len(list(attention_pages(loaded, images[:3]))) == 3


@pytest.mark.parametrize(("count", "fitted"), [(1, 1), (16, 16), (17, 16), (33, 16)])
def test_components_are_those_of_16_images_from_the_first_to_the_last(count, fitted):
    images, tracked = [photo(32, 32) for _ in range(count)], []

    def track(items, *, total, what):
        tracked.append((what, total, items))
        return []

    assert list(features_pages(network(), images, track=track)) == []
    (first, total, few), (second, *_) = tracked
    assert (first, total, second) == ("fit", fitted, "draw")
    assert len({id(one) for one in few}) == total == len(few)
    assert few[0] is images[0] and few[-1] is images[-1]


def test_a_field_shows_how_far_each_network_is():
    tracked = []

    def track(items, *, total, what):
        tracked.append((what, total))
        return items

    field_view({"A": network(), "B": network()}, [photo()] * 2, size=(64, 64), track=track)
    assert tracked == [("field A", 2), ("field B", 2)]


def test_a_field_is_not_measured_for_numbers_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        field_view(network(), [photo()], numbers=tmp_path)
