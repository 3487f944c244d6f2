"""Files are compared with the trained model on images that are prepared once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.loaded_kinds import loaded_of
from torch import Tensor

from van_dense.core.structures import Batch, Prediction, Sample
from van_dense.deploy.network import Network
from van_dense.deploy.networks import network_of
from van_dense.inference import comparison as comparing
from van_dense.inference.comparison import Comparison, batch_of
from van_dense.inference.gate import Drift
from van_dense.inference.loaded import Loaded

SEMANTIC = "semantic-semantic_fpn"


def comparison_of(kind: str, root: Path, *, number: int = 2) -> Comparison:
    loaded = loaded_of(kind, root)
    return Comparison(loaded, network_of(loaded.model).eval(), (), number)


@pytest.fixture(scope="module")
def semantic(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return comparison_of(SEMANTIC, tmp_path_factory.mktemp("semantic"))


@pytest.fixture
def open_as(monkeypatch):
    """Let any path be a file of fp32 that computes as a network does."""

    def use(network: Network) -> None:
        opened = SimpleNamespace(
            card=SimpleNamespace(precision="fp32"), runner=lambda outputs: network.run
        )
        monkeypatch.setattr(comparing, "open_file", lambda path: opened)

    return use


@pytest.mark.parametrize("kind", [SEMANTIC, "classification-van", "pose-simple_baseline"])
def test_a_file_that_gives_the_same_passes_in_every_shape(kind, tmp_path, open_as):
    comparison = comparison_of(kind, tmp_path)
    open_as(comparison.network)
    compared = comparison.check(Path("a.onnx"))
    assert compared.images == 2 and compared.differences["results"] <= 0.02
    assert comparison.error(comparison.network.run) <= 0.02
    ((run, file),) = compared.metrics.values()
    assert run == pytest.approx(file, abs=1e-3, nan_ok=True)


def test_a_mistake_that_network_and_file_share_is_found(semantic, open_as, monkeypatch):
    original = Network.normalised

    def wrong(network: Network, images: Tensor, sizes: Tensor) -> Tensor:
        return original(network, images, sizes) + 1

    open_as(semantic.network)
    monkeypatch.setattr(Network, "normalised", wrong)
    with pytest.raises(Drift, match=r"stage results: .* of the pixels of the label map"):
        semantic.check(Path("a.onnx"))
    assert semantic.error(semantic.network.run) > 0.02


class Metrics:
    """An evaluator that has its answers already, one for each evaluation."""

    def __init__(self, values: list[float]) -> None:
        self.values = values
        self.updates: list[int] = []

    def update(self, predictions) -> None:
        self.updates.append(len(predictions))

    def compute(self) -> Mapping[str, float]:
        return {"semantic/mIoU": self.values.pop(0)}


@pytest.mark.parametrize(
    ("run", "file", "passes"),
    [
        (math.nan, math.nan, True),
        (math.nan, 0.5, False),
        (0.5, math.nan, False),
        (0.5, 0.501, True),
        (0.5, 0.51, False),
    ],
)
def test_a_metric_that_one_side_alone_lacks_is_a_drift(
    semantic, open_as, monkeypatch, run, file, passes
):
    open_as(semantic.network)
    evaluator = Metrics([run, file])
    monkeypatch.setattr(Comparison, "_evaluator", lambda self: evaluator)
    if passes:
        semantic.check(Path("a.onnx"))
    else:
        with pytest.raises(Drift, match="stage metric: semantic/mIoU is"):
            semantic.check(Path("a.onnx"))
    assert evaluator.updates == [1, 1, 1, 1]  # image by image


def test_instances_that_were_compared_are_counted(tmp_path, open_as, caplog, monkeypatch):
    comparison = comparison_of("detection-retinanet", tmp_path)
    network, model = comparison.network, comparison.loaded.model
    open_as(network)
    compared = comparison.check(Path("a.onnx"))
    warned = [one for one in caplog.records if one.levelname == "WARNING"]
    assert compared.instances > 10 and not warned

    def fainter(*arguments) -> list[Prediction]:
        found = predict(network, *arguments)
        each = [replace(one.instances, scores=one.instances.scores * 0.05) for one in found]
        return [replace(one, instances=kept) for one, kept in zip(found, each, strict=True)]

    predict = type(network).predict
    monkeypatch.setattr(network, "predict", fainter)
    monkeypatch.setattr(model, "predict", lambda batch: fainter(network.run, batch))
    assert comparison.check(Path("a.onnx")).instances == 0
    assert "the run finds nothing with a score above 0.06 in 2 images" in caplog.text
    assert "--images" in caplog.text


def test_scores_that_are_nan_are_a_drift_and_an_error_of_1(tmp_path, open_as):
    comparison = comparison_of("detection-retinanet", tmp_path)
    file = network_of(comparison.loaded.model).eval()

    def broken(*arguments: Tensor) -> dict[str, Tensor]:
        found = comparison.network.run(*arguments)
        return {**found, "scores": found["scores"] * math.nan}

    file.run = broken
    open_as(file)
    with pytest.raises(Drift, match=r"stage outputs: in the file, .* gives non-finite outputs"):
        comparison.check(Path("a.onnx"))
    assert comparison.error(broken) == 1.0


def test_tasks_without_instances_count_none(semantic, open_as, caplog):
    open_as(semantic.network)
    assert semantic.check(Path("a.onnx")).instances is None
    assert not caplog.records


def test_measured_ways_have_metrics(semantic):
    torch_way, other = semantic.measure({("onnxruntime", "fp32"): semantic.network.run})
    assert torch_way.metric == pytest.approx(other.metric, abs=1e-3, nan_ok=True)
    assert (other.runtime, other.precision) == ("onnxruntime", "fp32")


def test_images_are_prepared_once(tmp_path, monkeypatch):
    prepared: list[int | str] = []

    def prepare(loaded: Loaded, sample: Sample) -> Batch:
        prepared.append(sample.image_id)
        return batch_of(loaded, sample)

    monkeypatch.setattr(comparing, "batch_of", prepare)
    comparison = comparison_of(SEMANTIC, tmp_path)
    for _ in range(2):
        assert comparison.error(comparison.network.run) <= 0.02
    assert len(prepared) == len(set(prepared)) == 2


def test_a_validation_part_without_images_is_told_with_a_way_out(tmp_path):
    comparison = comparison_of(SEMANTIC, tmp_path)
    comparison.__dict__["_dataset"] = []
    with pytest.raises(ValueError, match=r"validation part has no image .* with --images"):
        _ = comparison.batches


def test_batches_of_two_images_have_proposals_for_both(tmp_path):
    comparison = comparison_of("pose-simple_baseline", tmp_path)
    comparison.network.takes_batches = True
    *_, twice = comparison._otherwise_shaped()
    assert len(twice.images) == len(twice.proposals) == len(twice.seeds) == 2
    with torch.inference_mode():
        one, other = comparison.loaded.model.predict(twice)
    assert torch.equal(one.instances.keypoints, other.instances.keypoints)
