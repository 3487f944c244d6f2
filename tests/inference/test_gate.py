"""The gate lets a file through that gives what the run gives, and names the stage that drifts."""

from __future__ import annotations

from collections.abc import Sequence
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


class Bright(DenseModel):
    """Finds two boxes; the score of one depends on the brightness of the image."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def predict(self, batch: Batch) -> list[Prediction]:
        pixels = self.preprocess(batch)
        return [
            prediction(batch, i, BOXES.clone(), pixels[i].mean()) for i in range(len(batch.images))
        ]


class Boxes(Network):
    """The same as it is written to a file, and how bright each pixel is."""

    outputs = ("boxes", "brightness", "map")
    dense = ("brightness",)
    maps = ("map",)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        pixels = self.normalised(images, sizes)
        return BOXES.clone(), pixels.mean(dim=(1, 2, 3)), pixels.mean(dim=1).round().long()

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        predictions = []
        for i in range(len(batch)):
            found = run(batch.images[i : i + 1], torch.tensor([batch.sizes[i]]))
            predictions.append(prediction(batch, i, found["boxes"], found["brightness"][0]))
        return predictions


BOXES = torch.tensor([[0.0, 0, 8, 8], [4, 4, 14, 12]])


def prediction(batch: Batch, index: int, boxes: Tensor, brightness: Tensor) -> Prediction:
    scores = torch.stack([brightness.sigmoid(), torch.tensor(0.9)])
    found = Instances(boxes, torch.tensor([0, 1]), scores=scores)
    return Prediction(batch.image_ids[index], batch.orig_sizes[index], instances=found)


@pytest.fixture
def network() -> Boxes:
    return Boxes(Bright()).eval()


def gate_of(network: Boxes, file: Run) -> Gate:
    return Gate(network, file, FP32, model=network.model)


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    samples = [
        Sample(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), i, "a.jpg", (12, 16))
        for i in (3, 5)
    ]
    return collate(samples, 4)


def test_a_file_that_gives_the_same_passes(network, batch):
    gate = gate_of(network, network.run)
    expected, found = gate.compare(batch)
    assert [p.image_id for p in expected] == [p.image_id for p in found] == [3, 5]
    nothing = {"output brightness": 0.0, "output map": 0.0, "results": 0.0}
    assert gate.differences.summary() == nothing
    assert gate.differences.instances == 4


def test_the_trained_model_itself_is_what_is_expected(network, batch, monkeypatch):
    original = Network.normalised
    wrong = lambda self, images, sizes: original(self, images, sizes) + 1  # noqa: E731
    monkeypatch.setattr(Network, "normalised", wrong)
    with pytest.raises(Drift, match=r"stage results: .* of the instances of image 3 differ"):
        gate_of(network, network.run).compare(batch)


def faulty(network: Boxes, fault: str) -> Run:
    """What a file with a mistake computes."""

    def run(images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        other = Boxes(Bright()).eval()
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
        if fault == "labels":
            found["map"][:, 3] += 1
        if fault == "labels of padding":
            found["map"][:, :, 14:] += 1
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
        ("labels", "stage outputs: output 'map' .* differs in 8.33 % of the pixels of an image"),
    ],
)
def test_faults_of_exports_are_caught_and_named(network, batch, fault, stage):
    with pytest.raises(Drift, match=stage):
        gate_of(network, faulty(network, fault)).compare(batch)


def test_outputs_that_are_no_results_are_a_drift(network, batch, monkeypatch):
    def refuse(self, run: Run, batch: Batch) -> list[Prediction]:
        run(batch.images, torch.tensor(batch.sizes))
        raise ValueError("the network gives non-finite outputs for the images [3]")

    monkeypatch.setattr(Boxes, "predict", refuse)
    with pytest.raises(Drift, match=r"stage outputs: in the file, .* non-finite .* images \[3\]"):
        gate_of(network, network.run).compare(batch)


def test_a_trained_model_of_nan_is_no_drift(network, batch, monkeypatch):
    def refuse(batch: Batch) -> list[Prediction]:
        raise ValueError("the weights hold NaN")

    monkeypatch.setattr(network.model, "predict", refuse)
    with pytest.raises(ValueError, match="the weights hold NaN") as raised:
        gate_of(network, network.run).compare(batch)
    assert not isinstance(raised.value, Drift)


def test_a_network_without_dense_outputs_is_not_computed(network, batch, monkeypatch):
    monkeypatch.setattr(Boxes, "dense", ())
    monkeypatch.setattr(Boxes, "maps", ())
    file = Boxes(network.model).eval().run
    monkeypatch.setattr(network, "run", lambda *_: pytest.fail("it was computed"))
    gate = gate_of(network, file)
    gate.compare(batch)
    assert gate.differences.summary() == {"results": 0.0}


def test_labels_of_padding_are_not_compared(network, batch):
    batch = replace(batch, sizes=[(12, 14), (12, 13)])
    gate_of(network, faulty(network, "labels of padding")).compare(batch)


def test_what_was_not_sure_was_not_compared(network, batch, monkeypatch):
    def faint(*args: Any) -> Prediction:
        found = original(*args)
        return replace(found, instances=replace(found.instances, scores=torch.full((2,), 0.05)))

    original = prediction
    monkeypatch.setitem(globals(), "prediction", faint)
    gate = gate_of(network, network.run)
    gate.compare(batch)
    assert gate.differences.instances == 0


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
    assert differing(one, replace(one, semantic=other), FP32) == (0.03, "pixels of the label map")
    grey = Prediction(1, (10, 10), saliency=other.astype(np.float32) / 2)
    assert differing(grey, replace(grey, saliency=labels.astype(np.float32)), FP32)[0] == 0.03
    sure = Prediction(1, (10, 10), class_scores=torch.tensor([0.5, 0.5]))
    assert differing(sure, replace(sure, class_scores=torch.tensor([0.505, 0.495])), FP32)[0] == 0
    assert differing(sure, replace(sure, class_scores=torch.tensor([0.6, 0.4])), FP32)[0] == 1


@pytest.mark.parametrize("name", ["saliency", "class_scores"])
def test_numbers_that_are_none_are_differences(name):
    values = np.zeros((2, 2), np.float32) if name == "saliency" else torch.zeros(4)
    one = Prediction(1, (2, 2), **{name: values})
    assert differing(one, replace(one, **{name: values * np.nan}), FP32)[0] == 1


def test_every_field_is_compared_and_the_worst_is_named():
    labels = np.zeros((10, 10), dtype=np.uint8)
    other = labels.copy()
    other[0, :3] = 1
    one = replace(panoptic(labels + 1), semantic=labels, instances=instances())
    worse = replace(one, semantic=other)
    assert differing(one, worse, FP32) == (0.03, "pixels of the label map")
    worst = replace(worse, instances=instances(labels=torch.tensor([1, 1])))
    assert differing(one, worst, FP32) == (0.5, "instances")
    assert differing(worst, one, FP32) == (0.5, "instances")


@pytest.mark.parametrize("name", ["semantic", "panoptic", "instances"])
def test_a_field_that_one_side_lacks_is_an_error(name):
    labels = np.ones((10, 10), dtype=np.uint8)
    one = replace(panoptic(labels), semantic=labels, instances=instances())
    lacking = replace(one, **{name: None})
    with pytest.raises(Drift, match="of image 1, the file gives none"):
        differing(one, lacking, FP32)
    with pytest.raises(Drift, match="of image 1, the run gives none"):
        differing(lacking, one, FP32)


def test_maps_of_another_size_are_an_error():
    one = Prediction(1, (10, 10), semantic=np.ones((10, 10), dtype=np.uint8))
    with pytest.raises(Drift, match=r"are \(5, 10\) in the file, \(10, 10\) in the run"):
        differing(one, replace(one, semantic=one.semantic[:5]), FP32)


def test_masks_and_joints_that_one_side_lacks_are_differences():
    joints = torch.zeros(2, 3, 3)
    assert of_instances(instances(), instances(masks=None)) == 1
    assert of_instances(instances(keypoints=joints), instances()) == 1


# ----------------------------------------------------------------------------------- panoptic


def panoptic(ids: np.ndarray, labels: Sequence[int] = (0, 0, 5), **changes: Any) -> Prediction:
    """A panoptic map, whose segments 1, 2, .. have these classes."""
    segments = [{"id": i + 1, "label": n, "score": 0.9} | changes for i, n in enumerate(labels)]
    return Prediction(1, (10, 10), panoptic=ids.astype(np.int32), segments=segments)


def halves(left: int, right: int, width: int = 5) -> np.ndarray:
    ids = np.full((10, 10), left)
    ids[:, width:] = right
    return ids


def of_panoptic(run: Prediction, file: Prediction) -> float:
    both = differing(run, file, FP32), differing(file, run, FP32)
    assert both[0] == both[1] and both[0][1] == "pixels of the panoptic map"
    return both[0][0]


def test_ids_of_segments_say_nothing():
    one = panoptic(halves(1, 2))
    assert of_panoptic(one, one) == 0
    assert of_panoptic(one, panoptic(halves(2, 1))) == 0
    assert of_panoptic(panoptic(halves(3, 0)), panoptic(halves(1, 0), [5])) == 0


def test_segments_of_one_class_are_told_apart():
    one = panoptic(halves(1, 2))
    assert of_panoptic(one, panoptic(halves(1, 2, 7))) == pytest.approx(0.2)
    assert of_panoptic(one, panoptic(halves(1, 1))) == pytest.approx(0.5)  # run into each other
    assert of_panoptic(one, panoptic(halves(1, 0))) == pytest.approx(0.5)


def test_segments_of_another_class_or_score_are_differences():
    one = panoptic(halves(1, 2))
    assert of_panoptic(one, panoptic(halves(1, 3))) == pytest.approx(0.5)
    assert of_panoptic(one, panoptic(halves(1, 2), score=0.5)) == 1
    assert of_panoptic(panoptic(halves(0, 0)), panoptic(halves(0, 0), [])) == 0
