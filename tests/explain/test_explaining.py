"""Explanations are honest: a network that has learnt something explains itself by the object.

Seconds of training; the full promise, at least half of the energy inside the box, is
tested on the quickstart model (tests/test_quickstart.py).
"""

from __future__ import annotations

from pathlib import Path

import helpers.shallow_van  # noqa: F401  registers van_shallow
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from van_dense.api import Loaded, build_model
from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances
from van_dense.explain.cam import activation_map, energy_inside
from van_dense.explain.cam_pages import cam_pages, default_layer, default_method, explain
from van_dense.models.dense_model import DenseModel

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
SIDE = 64
INFO = DatasetInfo("shapes", ("square", "disc"), (1, 2))
OVERRIDES = [
    "model.engine=torchvision",
    "model.backbone={name: van_shallow, weights: null}",
    "model.fpn={channels: 32, norm: group}",
    "model.head={convs: 1, norm: group}",
    "model.anchor_sizes=[16, 24, 32, 48, 64]",
    f"data.transforms={{test_short_side: {SIDE}, max_long_side: {SIDE}}}",
]


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """A red or blue square or disc on waves and noise: image, box and label."""
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = [
        60 + 80 * rng.random()
        + 40 * np.sin(x / rng.uniform(6, 20) + 6 * rng.random()) * np.cos(y / rng.uniform(6, 20))
        for _ in range(3)
    ]  # fmt: skip
    image = np.stack(waves, axis=-1) + rng.normal(0, 12, (SIDE, SIDE, 3))
    radius = int(rng.integers(SIDE // 8, SIDE // 5))
    cx, cy = (int(v) for v in rng.integers(radius + 1, SIDE - radius - 1, 2))
    label = int(rng.integers(2))
    square = (abs(x - cx) <= radius) & (abs(y - cy) <= radius)
    disc = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    color = [(230, 60, 40), (50, 90, 240)][int(rng.integers(2))]
    image[(square, disc)[label]] = color
    box = np.array([cx - radius, cy - radius, cx + radius + 1, cy + radius + 1], np.float32)
    return image.clip(0, 255).astype(np.uint8), box, label


def batch_of(rng: np.random.Generator, count: int) -> Batch:
    scenes = [scene(rng) for _ in range(count)]
    return Batch(
        torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image, _, _ in scenes]),
        sizes=[(SIDE, SIDE)] * count,
        orig_sizes=[(SIDE, SIDE)] * count,
        image_ids=list(range(count)),
        targets=[
            Instances(torch.from_numpy(box)[None], torch.tensor([label]))
            for _, box, label in scenes
        ],
    )


def build(seed: int) -> Loaded:
    torch.manual_seed(seed)
    config = load_config(PROJECTS / "retinanet_van_b0.yaml", OVERRIDES)
    return Loaded(build_model(config, INFO).eval(), config, INFO, 0, torch.device("cpu"))


@pytest.fixture(scope="module")
def trained() -> Loaded:
    torch.set_num_threads(1)
    loaded, steps, rng = build(0), 100, np.random.default_rng(0)
    model = loaded.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(steps):
        loss = torch.stack(list(model(batch_of(rng, 4)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    model.eval()
    return loaded


def energies(asked: Loaded, found_by: Loaded, method: str) -> tuple[float, float, int]:
    """Mean share of energy and of area inside the boxes that are right, and their number."""
    rng, shares = np.random.default_rng(99), []
    for _ in range(24):
        batch = batch_of(rng, 1)
        found, truth = found_by.model.predict(batch)[0].instances, batch.targets[0]
        right = (box_iou(found.boxes, truth.boxes)[:, 0] > 0.5) & (found.labels == truth.labels)
        for index in (right & (found.scores > 0.3)).nonzero()[:1, 0]:
            box, label = found.boxes[index], found.labels[index]
            shares.append(energy_inside(_map(asked.model, batch, box, label, method), box.tolist()))
    energy, area = np.mean(shares, axis=0)
    return float(energy), float(area), len(shares)


def _map(
    model: DenseModel, batch: Batch, box: torch.Tensor, label: torch.Tensor, method: str
) -> np.ndarray:
    return activation_map(
        model,
        model.preprocess(batch),
        lambda images: model.box_logits(images, box[None], label[None])[0],
        layer="norm3",
        method=method,
    )


def test_trained_networks_look_at_the_object_and_random_ones_do_not(trained):
    method = default_method(trained)
    assert (default_layer(trained), method) == ("norm3", "direction")
    energy, area, count = energies(trained, trained, method)
    assert count >= 12
    assert energy > 0.33 and energy > 2.5 * area
    random, _, _ = energies(build(1), trained, method)
    assert 0.7 * area < random < 1.35 * area


def test_what_is_drawn_is_the_box_that_is_explained(trained):
    image, box, _ = scene(np.random.default_rng(99))
    explanations = explain(trained, image, targets=["all"], min_score=0.2)
    for one in explanations:
        (label,) = one.shown.instances.labels.tolist()
        assert one.title.startswith(INFO.class_names[label])
    shown = torch.cat([one.shown.instances.boxes for one in explanations])
    assert box_iou(shown, torch.from_numpy(box)[None]).max() > 0.5
    (picture,) = cam_pages({"VAN-B0": trained}, [image], targets=["all"], min_score=0.2)
    (beside,) = cam_pages({"A": trained, "B": build(1)}, [image, image], min_score=0.2)
    assert picture.width > 2 * SIDE and beside.height > 2 * SIDE


def test_an_image_without_anything_to_explain_is_named(trained):
    empty = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert explain(trained, empty, targets=["1"], min_score=0.99) == []
    with pytest.raises(ValueError, match="nothing to explain: nothing was found"):
        list(cam_pages({"VAN-B0": trained}, [empty], min_score=0.99))
    assert list(cam_pages({"VAN-B0": trained}, [])) == []


def test_images_without_anything_to_explain_are_left_out_and_named(trained, tmp_path, caplog):
    image, _, _ = scene(np.random.default_rng(99))
    score = float(explain(trained, image, min_score=0.0)[0].shown.instances.scores[0])
    path = tmp_path / "empty.png"
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(path)
    assert explain(trained, path, min_score=score) == []
    (alone,) = cam_pages({"VAN-B0": trained}, [image], min_score=score)
    (both,) = cam_pages({"VAN-B0": trained}, [image, path], min_score=score)
    assert both.size == alone.size
    assert "nothing to explain in 1 of 2 images: empty.png" in caplog.text


@pytest.mark.parametrize(
    ("project", "kind", "layer", "method"),
    [
        ("maskrcnn_van_b0", "", "norm3", "direction"),
        ("maskrcnn_van_b0", "mask", "norm2", "direction"),
        ("retinanet_van_b0", "", "norm3", "direction"),
        ("semfpn_van_b0", "", "norm3", "gradcam"),
        ("saliency_van_b1", "", "norm3", "gradcam"),
        ("pose_van_b0_256x192", "", "block4.1", "direction"),
        ("classify_van_b0_in1k", "", "block4.1", "gradcam"),
    ],
)
def test_every_task_has_the_layer_and_method_that_were_measured(project, kind, layer, method):
    overrides = ["model.backbone.weights=null"]
    if "net" in project or "rcnn" in project:
        overrides.append("model.engine=torchvision")
    if project.startswith("pose"):  # the data set has no pairs of joints
        overrides += ["data.transforms.flip=0", "eval.flip=false"]
    config = load_config(PROJECTS / f"{project}.yaml", overrides)
    with torch.device("meta"):
        model = build_model(config, INFO)
    loaded = Loaded(model, config, INFO, 0, torch.device("cpu"))
    assert default_layer(loaded, kind) == layer
    assert default_method(loaded) == method


def test_saliency_is_drawn_in_the_proportions_of_the_image():
    overrides = ["model.backbone={name: van_b0, weights: null}", "data.transforms.size=[64,64]"]
    config = load_config(PROJECTS / "saliency_van_b1.yaml", overrides)
    loaded = Loaded(build_model(config, INFO).eval(), config, INFO, 0, torch.device("cpu"))
    (one,) = explain(loaded, np.zeros((100, 200, 3), np.uint8))
    assert one.image.shape == (32, 64, 3)
    assert one.heat.shape == one.region.shape == (32, 64)
