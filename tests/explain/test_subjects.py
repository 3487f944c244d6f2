"""Targets: what a user can ask to have explained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from van_dense.api import Loaded, build_model
from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction
from van_dense.explain.subjects import Subject, subjects_of
from van_dense.explain.views import network_input

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
INFO = DatasetInfo(
    "toy",
    ("cat", "n02_big_dog", "bird"),
    (1, 2, 3),
    keypoint_names=("nose", "left_ear"),
    flip_pairs=(),
    sigmas=(0.1, 0.1),
)
IMAGE = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)


def network(project: str, *overrides: str) -> Loaded:
    torch.manual_seed(0)
    config = load_config(PROJECTS / f"{project}.yaml", ["model.backbone.weights=null", *overrides])
    return Loaded(build_model(config, INFO).eval(), config, INFO, 0, torch.device("cpu"))


def subjects(loaded: Loaded, *targets: str, min_score: float = 0.3) -> list[Subject]:
    return subjects_of(loaded, network_input(loaded, IMAGE), targets, min_score=min_score)


@pytest.fixture(scope="module")
def classifier() -> Loaded:
    return network("classify_van_b0_in1k", "data.transforms={size: 64, resize: 64}")


@pytest.fixture(scope="module")
def detector() -> Loaded:
    """Finds three objects in a row, whatever it sees."""
    loaded = network("maskrcnn_van_b0", "model.fpn.channels=8", "model.engine=torchvision")
    boxes = torch.tensor([[2.0, 2, 30, 30], [20.0, 10, 50, 50], [60.0, 8, 90, 60]])
    found = Instances(boxes, torch.tensor([0, 1, 0]), torch.tensor([0.4, 0.9, 0.7]))
    loaded.model.predict = lambda batch: [Prediction("image", batch.sizes[0], instances=found)]
    return loaded


def test_classes_are_ranked_by_their_probability(classifier):
    ranked = [subject.name for subject in subjects(classifier, "all")]
    assert sorted(ranked) == sorted(INFO.class_names)
    assert [subject.name for subject in subjects(classifier, "2", "1")] == [ranked[1], ranked[0]]
    (dog,) = subjects(classifier, "n02_big_dog")
    images = torch.zeros(1, 3, 64, 64)
    assert dog.score(images) == classifier.model.backbone(images)[0, 1]


def test_boxes_are_ranked_by_their_score_and_named_by_their_class(detector):
    assert [s.title for s in subjects(detector, "all")] == [
        f"{name} {score}%" for name, score in (("n02 big dog", 90), ("cat", 70), ("cat", 40))
    ]
    assert [s.title for s in subjects(detector, "cat")] == ["cat 70%", "cat 40%"]
    assert [s.title for s in subjects(detector, "cat", min_score=0.5)] == ["cat 70%"]
    assert subjects(detector, "bird") == [] and subjects(detector, "9") == []
    assert len(subjects(detector, "1", "n02_big_dog", "all")) == 3
    (third,) = subjects(detector, "3")
    assert third.shown.instances.boxes.tolist() == [[2, 2, 30, 30]]


def test_masks_are_asked_for_by_a_word_before(detector):
    assert [s.title for s in subjects(detector, "mask:all")][:1] == ["mask n02 big dog 90%"]
    (cat,) = subjects(detector, "mask:2")
    images = torch.zeros(1, 3, 64, 96)
    own = detector.model.mask_logits(images, torch.tensor([[60.0, 8, 90, 60]]), torch.tensor([0]))
    assert cat.score(images) == own[0]


def test_readable_names_and_mistakes(detector):
    assert len(subjects(detector, "n02 big dog")) == 1
    for wrong in ("cats", "0", "mask:dogs"):
        with pytest.raises(ValueError, match=r"no class or joint of that name, no rank"):
            subjects(detector, wrong)
    with pytest.raises(ValueError, match="'box:1': before the name stands 'mask:' or nothing"):
        subjects(detector, "box:1")
    with pytest.raises(ValueError, match=r"nearest names: \['cat'"):
        subjects(detector, "cats")


def test_a_name_may_be_in_any_case_where_it_means_one_thing(detector):
    assert [s.title for s in subjects(detector, "CAT")] == ["cat 70%", "cat 40%"]
    assert [s.name for s in subjects(detector, "mask:N02 Big Dog")] == ["n02_big_dog"]
    assert subjects(detector, "Bird") == []  # known, and not found
    both = replace(detector, info=replace(INFO, class_names=("cat", "Cat", "bird")))
    assert len(subjects(both, "cat")) == 2 and len(subjects(both, "Cat")) == 1
    with pytest.raises(ValueError, match=r"'CAT' may be any of \['Cat', 'cat'\]; write one"):
        subjects(both, "CAT")


def test_masks_of_a_network_without_any_are_refused_in_its_own_words(classifier):
    with pytest.raises(
        ValueError, match=r"'mask:1': this network \(classification\) finds no mask"
    ):
        subjects(classifier, "mask:1")


def test_joints_of_a_crop():
    pose = network("pose_van_b0_256x192", "model.channels=[8, 8]", "data.transforms.size=[64, 64]")
    names = [subject.name for subject in subjects(pose, "all")]
    assert sorted(names) == ["left_ear", "nose"]
    (ear,) = subjects(pose, "left ear")
    images = network_input(pose, IMAGE).batch
    images = pose.model.preprocess(images)
    heatmap = pose.model.head(pose.model.backbone(images)[-1])[0, 1]
    torch.testing.assert_close(ear.score(images), heatmap.max() - heatmap.mean())
    other = images.flip(3)  # the place is asked about, wherever the maximum has gone
    flipped = pose.model.head(pose.model.backbone(other)[-1])[0, 1]
    place = heatmap.flatten().argmax()
    torch.testing.assert_close(ear.score(other), flipped.flatten()[place] - flipped.mean())
    assert ear.shown.instances.keypoints[0, :, 2].tolist() == [0.0, 1.0]


def test_regions_of_a_label_map(caplog):
    loaded = network(
        "semfpn_van_b0",
        "model.decoder={name: semantic_fpn, channels: 8, head_channels: 8}",
        "data.transforms.test_scale=null",
    )
    labels = np.full((64, 96), 255, np.uint8)
    labels[:, :50] = 2
    labels[:8, 60:70] = labels[30:40, 60:70] = 0
    loaded.model.predict = lambda batch: [Prediction("image", batch.sizes[0], semantic=labels)]
    assert [s.name for s in subjects(loaded, "all")] == ["bird", "cat"]
    largest, point = subjects(loaded, "1", "65,35")
    assert largest.title == "bird, 52% of the image" and point.title == "cat at 65,35"
    both = subjects(loaded, "3", "65,35")  # a point has no rank
    assert [s.title for s in both] == [
        "cat at 65,35"
    ] and "nothing found for target 3" in caplog.text
    whole_class = subjects(loaded, "0,0", "all", "1,1")  # one region is all of it
    assert [s.title for s in whole_class] == ["bird, 52% of the image", "cat, 3% of the image"]
    assert subjects(loaded, "90,0") == [] and "void at 90,0" in caplog.text
    images = torch.zeros(1, 3, 64, 96)
    logits = loaded.model.logits(images)[0]
    stride = 96 // logits.shape[2]
    columns = (50 - stride * torch.arange(logits.shape[2])).clamp(0, stride)  # inside, of a cell
    mean = (logits[2] * columns).sum() / (columns.sum() * logits.shape[1])
    torch.testing.assert_close(largest.score(images), mean)
    with pytest.raises(ValueError, match="96,0 lies outside the image of 96x64 pixels"):
        subjects(loaded, "96,0")


def test_a_salient_region_is_asked_how_far_it_stands_out():
    loaded = network(
        "saliency_van_b1", "model.backbone.name=van_b0", "data.transforms.size=[64,64]"
    )
    saliency = np.zeros((64, 64), np.float32)
    saliency[:, :32] = 1.0
    loaded.model.predict = lambda batch: [Prediction("image", batch.sizes[0], saliency=saliency)]
    (subject,) = subjects(loaded, "1")
    assert subject.region.tolist() == (saliency > 0.5).tolist()
    images = torch.zeros(1, 3, 64, 64)
    logits = loaded.model.decoder(loaded.model.backbone(images))[0][0, 0]
    half = logits.shape[1] // 2
    wanted = logits[:, :half].mean() - logits[:, half:].mean()
    torch.testing.assert_close(subject.score(images), wanted)


def test_targets_that_are_not_found_beside_others_are_told(detector, caplog):
    assert [one.name for one in subjects(detector, "cat", "bird")] == ["cat", "cat"]
    assert "nothing found for target bird" in caplog.text
    caplog.clear()
    assert subjects(detector, "bird") == [] and caplog.text == ""
