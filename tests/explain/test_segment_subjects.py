"""Segments of panoptic maps as targets of an explanation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.panoptic_scene import INFO, segment

from van_dense.api import Loaded, build_model
from van_dense.config import load_config
from van_dense.core.structures import Batch, Prediction
from van_dense.explain.cam_pages import cam_pages, explain
from van_dense.explain.subjects import Subject, subjects_of
from van_dense.explain.views import network_input
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.models.panoptic.panoptic_fpn import PanopticFPN

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
IMAGE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
SMALL = {
    "panopticfpn_van_b2": ["model.fpn.channels=8", "model.semantic_head.channels=8"],
    "mask2former_van_b2": [
        "model.queries=8",
        "model.channels=32",
        "model.attention_heads=2",
        "model.pixel_decoder={layers: 1, feedforward: 16}",
        "model.decoder={layers: 1, feedforward: 16}",
    ],
}


def network(project: str, *overrides: str) -> Loaded:
    """Finds sky, a dog and a road, whatever it sees, where it is asked for panoptic maps."""
    torch.manual_seed(0)
    same_size = ["data.transforms.test_short_side=60", "data.transforms.max_long_side=90"]
    van = ["model.backbone.name=van_b0", "model.backbone.weights=null"]
    changes = [*van, *same_size, *SMALL[project], *overrides]
    config = load_config(PROJECTS / f"{project}.yaml", changes)
    model = build_model(config, INFO).eval()
    panoptic = np.zeros((60, 90), dtype=np.int32)
    panoptic[:30], panoptic[30:50] = 7, 2
    panoptic[20:40, 10:30] = 5
    scores = {7: 0.6, 5: 0.9, 2: 0.2}
    segments = [{**segment(i, label), "score": scores[i]} for i, label in ((7, 0), (5, 3), (2, 2))]

    def predict(batch: Batch) -> list[Prediction]:
        assert model.types == ("panoptic",) and batch.sizes == [(60, 90)]
        return [Prediction("image", (60, 90), panoptic=panoptic, segments=segments)]

    model.predict = predict
    return Loaded(model, config, INFO, 0, torch.device("cpu"))


@pytest.fixture(scope="module", params=sorted(SMALL))
def panoptic(request) -> Loaded:
    return network(request.param)


def subjects(loaded: Loaded, *targets: str, min_score: float = 0.3) -> list[Subject]:
    return subjects_of(loaded, network_input(loaded, IMAGE), targets, min_score=min_score)


def test_segments_are_ranked_by_their_score_and_named_by_their_class(panoptic) -> None:
    assert [s.title for s in subjects(panoptic, "all")] == ["dog 90%", "sky 60%"]
    everything = subjects(panoptic, "all", min_score=0.1)
    assert [s.title for s in everything] == ["dog 90%", "sky 60%", "road 20%"]
    (sky,) = subjects(panoptic, "Sky")
    assert sky.region[0, 0] and not sky.region[25, 15]  # the dog stands before it
    assert subjects(panoptic, "cat") == []


def test_a_point_names_the_segment_that_is_there(panoptic) -> None:
    found = subjects(panoptic, "15,35", "80,40")
    assert [s.title for s in found] == ["dog 90%", "road 20%"]  # however low its score
    larger = replace(network_input(panoptic, IMAGE), original=(120, 180))
    (dog,) = subjects_of(panoptic, larger, ["30,70"], min_score=0.3)
    assert dog.title == "dog 90%"
    with pytest.raises(ValueError, match="target 90,0 lies outside the image of 90x60 pixels"):
        subjects(panoptic, "90,0")


def test_points_neither_are_ranked_nor_explained_twice(panoptic) -> None:
    both = ["dog 90%", "sky 60%"]
    for targets in (["all", "15,35"], ["15,35", "16,35", "all"], ["15,35", "dog", "0,0", "2"]):
        assert [s.title for s in subjects(panoptic, *targets)] == both
    for other in ("3", "road"):  # is below the lowest score
        assert [s.title for s in subjects(panoptic, other, "80,40")] == ["road 20%"]
        assert subjects(panoptic, other) == []


def test_a_point_without_a_segment_is_called_void(panoptic, caplog) -> None:
    (dog,) = subjects(panoptic, "dog", "0,59")
    assert dog.title == "dog 90%"
    assert [r.message for r in caplog.records] == [
        "image: void at 0,59, which is nothing to explain"
    ]
    with pytest.raises(ValueError, match="nothing that was found is 0,59"):
        list(cam_pages({"panoptic": panoptic}, [IMAGE], targets=["0,59"]))
    assert "void at 0,59" in caplog.records[-1].message


def test_the_number_is_what_the_model_says_of_the_segment(panoptic) -> None:
    dog, road = subjects(panoptic, "dog", "80,40")
    images, masks = torch.randn(1, 3, 64, 96), torch.zeros(2, 60, 90)
    masks[0, 20:40, 10:30] = 1
    masks[1, 30:50] = 1
    masks[1, 30:40, 10:30] = 0
    logits = panoptic.model.segment_logits(images, masks, torch.tensor([3, 2]))
    torch.testing.assert_close(torch.stack([dog.score(images), road.score(images)]), logits)


def test_masks_of_things_are_asked_where_the_network_has_some() -> None:
    loaded = network("panopticfpn_van_b2")
    (mask,) = subjects(loaded, "mask:all")
    assert mask.title == "mask dog 90%"
    images, box = torch.randn(1, 3, 64, 96), torch.tensor([[10.0, 20, 30, 40]])
    own = loaded.model.mask_logits(images, box, torch.tensor([3]))[0]
    torch.testing.assert_close(mask.score(images), own)
    assert subjects(loaded, "mask:15,35", "mask:all")[0].title == mask.title
    (at_point,) = subjects(loaded, "mask:15,35")
    torch.testing.assert_close(at_point.score(images), own)
    assert [s.title for s in subjects(loaded, "mask:15,35", "15,35")] == [mask.title, "dog 90%"]
    with pytest.raises(ValueError, match=r"'mask:1': this network \(panoptic\) finds no masks"):
        subjects(network("mask2former_van_b2"), "mask:1")


def test_stuff_has_no_mask_to_ask(caplog) -> None:
    assert subjects(network("panopticfpn_van_b2"), "mask:0,0") == []
    assert "sky at 0,0 is stuff, which has no mask to ask; write '0,0'" in caplog.text


def test_a_run_that_answers_other_questions_is_explained_by_its_segments() -> None:
    loaded = network("panopticfpn_van_b2", "eval.types=[instance]")
    assert len(subjects(loaded, "all")) == 2
    assert loaded.model.types == ("instance",)  # as before


def test_each_segment_has_a_map_and_its_outline(panoptic) -> None:
    assert isinstance(panoptic.model, (PanopticFPN, Mask2Former))
    dog, sky = explain(panoptic, IMAGE, targets=["all"])
    for one in (dog, sky):
        assert one.heat.shape == (60, 90) and np.isfinite(one.heat).all()
        assert one.heat.max() in (0, 1)  # 0 where nothing speaks for it
        assert one.region is not None and one.shown is None
    assert not np.array_equal(dog.heat, sky.heat)
    assert len(list(cam_pages({"panoptic": panoptic}, [IMAGE], targets=["all"]))) == 1
