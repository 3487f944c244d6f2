"""The gate lets a file through that gives what the run gives, and names the stage that drifts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from van_dense.core.structures import Batch, Instances, Prediction, Sample, encode_masks
from van_dense.data.collate import collate
from van_dense.deploy.network import Network, Run
from van_dense.inference.gate import TOLERANCES, Drift, Gate, differing
from van_dense.models.dense_model import DenseModel

FP32 = TOLERANCES["fp32"]


class Boxes(Network):
    """Two boxes, whose scores depend on the brightness of the image."""

    outputs = ("boxes", "brightness")
    dense = ("brightness",)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        pixels = self.normalised(images, sizes)
        boxes = torch.tensor([[0.0, 0, 8, 8], [4, 4, 14, 12]]).clamp(max=float(images.shape[3]))
        return boxes, pixels.mean(dim=(1, 2, 3))

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        predictions = []
        for i, image_id in enumerate(batch.image_ids):
            found = run(batch.images[i : i + 1], torch.tensor([batch.sizes[i]]))
            scores = torch.stack([found["brightness"][0].sigmoid(), torch.tensor(0.9)])
            kept = Instances(found["boxes"], torch.tensor([0, 1]), scores=scores)
            predictions.append(Prediction(image_id, batch.orig_sizes[i], instances=kept))
        return predictions


@pytest.fixture
def network() -> Boxes:
    return Boxes(DenseModel(nn.Identity())).eval()


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    samples = [
        Sample(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), i, "a.jpg", (12, 16))
        for i in (3, 5)
    ]
    return collate(samples, 4)


def test_a_file_that_gives_the_same_passes(network, batch):
    gate = Gate(network, network.run, FP32)
    expected, found = gate.compare(batch)
    assert [p.image_id for p in expected] == [p.image_id for p in found] == [3, 5]
    assert gate.differences.summary() == {"output brightness": 0.0, "results": 0.0}


def faulty(network: Boxes, fault: str) -> Run:
    """What a file with a mistake computes."""

    def run(images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        other = Boxes(DenseModel(nn.Identity())).eval()
        if fault == "mean":
            other.model.preprocess.mean += 5
        if fault == "transposed size":
            sizes = sizes.flip(1)
        found = dict(other.run(images, sizes))
        if fault == "dropped clip":
            found["boxes"] = found["boxes"] * 1.5
        if fault == "int8 range":
            found["brightness"] = found["brightness"].clamp(-0.01, 0.01)
        if fault == "shape":
            found["boxes"] = found["boxes"][:1]
        return found

    return run


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        ("mean", "stage outputs: output 'brightness' of the images"),
        ("transposed size", "stage outputs: output 'brightness'"),
        ("int8 range", "stage outputs: output 'brightness'"),
        ("dropped clip", "stage results: .* % of the instances of image 3 differ; 2 % are allowed"),
        ("shape", "stage outputs: output 'boxes' .* has shape"),
    ],
)
def test_faults_of_exports_are_caught_and_named(network, batch, fault, stage):
    with pytest.raises(Drift, match=stage):
        Gate(network, faulty(network, fault), FP32).compare(batch)


# ------------------------------------------------------------------------------ results


def instances(**changes: Any) -> Instances:
    masks = torch.zeros(2, 20, 20, dtype=torch.uint8)
    masks[0, 2:12, 2:12] = 1
    values: dict[str, Any] = {
        "boxes": torch.tensor([[2.0, 2, 12, 12], [0, 0, 5, 5]]),
        "labels": torch.tensor([1, 0]),
        "scores": torch.tensor([0.9, 0.4]),
        "masks": encode_masks(masks),
        **changes,
    }
    return Instances(**values)


def of_instances(run: Instances, file: Instances) -> float:
    both = (Prediction(1, (20, 20), instances=one) for one in (run, file))
    return differing(*both, FP32)[0]


def test_instances_are_the_same_in_any_order_and_with_empty_masks():
    assert of_instances(instances(), instances()) == 0
    assert of_instances(instances(), instances()[torch.tensor([1, 0])]) == 0
    assert of_instances(Instances.empty(), Instances.empty()) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": torch.tensor([1, 1])},
        {"scores": torch.tensor([0.9, 0.45])},
        {"boxes": torch.tensor([[2.0, 2, 12, 12], [0, 0, 5, 5.5]])},
        {"masks": encode_masks(torch.ones(2, 20, 20, dtype=torch.uint8))[:1] * 2},
    ],
)
def test_another_class_score_place_or_mask_is_a_difference(changes):
    assert of_instances(instances(), instances(**changes)) >= 0.5


def test_instances_that_either_side_lacks_are_differences():
    one = instances()[torch.tensor([0])]
    assert of_instances(instances(), one) == of_instances(one, instances()) == pytest.approx(1 / 3)


def test_what_is_hardly_seen_is_not_compared():
    faint = instances(scores=torch.tensor([0.9, 0.055]))
    assert of_instances(faint, faint[torch.tensor([0])]) == 0


def test_masks_may_differ_at_their_edges():
    masks = torch.zeros(2, 20, 20, dtype=torch.uint8)
    masks[0, 2:12, 2:12] = 1
    masks[0, 2, 2:6] = 0
    assert of_instances(instances(), instances(masks=encode_masks(masks))) == 0
    masks[0, 3, 2:6] = 0
    assert of_instances(instances(), instances(masks=encode_masks(masks))) == 0.5


def test_maps_and_classes_are_compared_pixel_by_pixel():
    labels = np.zeros((10, 10), dtype=np.uint8)
    other = labels.copy()
    other[0, :3] = 1
    one = Prediction(1, (10, 10), semantic=labels)
    assert differing(one, replace(one, semantic=other), FP32) == (0.03, "pixels")
    grey = Prediction(1, (10, 10), saliency=other.astype(np.float32) / 2)
    assert differing(grey, replace(grey, saliency=labels.astype(np.float32)), FP32)[0] == 0.03
    sure = Prediction(1, (10, 10), class_scores=torch.tensor([0.5, 0.5]))
    assert differing(sure, replace(sure, class_scores=torch.tensor([0.505, 0.495])), FP32)[0] == 0
    assert differing(sure, replace(sure, class_scores=torch.tensor([0.6, 0.4])), FP32)[0] == 1
