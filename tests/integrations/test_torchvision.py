"""A checkpoint of torchvision's detectors finds the same objects here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from same_detections import assert_same_detections
from torch import nn
from torchvision.models import detection

import van_dense
from van_dense.integrations.torchvision_keys import from_torchvision, to_torchvision
from van_dense.structures import Batch, Instances
from van_dense.tasks.convert import export_weights, import_weights

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
SIZE = (256, 384)  # multiples of 128, where torchvision's strides are right on every level


def maskrcnn() -> nn.Module:
    return detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)


def retinanet() -> nn.Module:
    return detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None)


def retinanet_v2() -> nn.Module:
    return detection.retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None)


MODELS = {
    "maskrcnn": (maskrcnn, []),
    "retinanet": (retinanet, []),
    "retinanet_v2": (retinanet_v2, ["model.extra_levels=c5_relu", "model.head.norm=group"]),
}


@pytest.fixture(scope="module", params=sorted(MODELS))
def published(request, tmp_path_factory):
    """A model of torchvision with random weights whose scores spread, and its file."""
    torch.manual_seed(0)
    build, overrides = MODELS[request.param]
    model = build().eval()
    model.transform.min_size, model.transform.max_size = (SIZE[0],), SIZE[1]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bn3.weight"):
                parameter.mul_(0.3)  # features of trained magnitude
        _spread_scores(model)
    path = tmp_path_factory.mktemp(request.param) / "model.pth"
    torch.save(model.state_dict(), path)
    kind = request.param.removesuffix("_v2")
    project = str(PROJECTS / f"{kind}_r50_torchvision.yaml")
    return model, path, project, ["model.engine=torchvision", *overrides]


def _spread_scores(model: nn.Module) -> None:
    """Logits of deviation 4 on some image, instead of nearly equal ones."""
    is_rcnn = hasattr(model, "roi_heads")
    layer = (
        model.roi_heads.box_predictor.cls_score
        if is_rcnn
        else model.head.classification_head.cls_logits
    )
    layer.weight.normal_(std=0.01)
    layer.bias.fill_(0.0)
    logits: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, output: logits.append(output))
    model([torch.rand(3, *SIZE)])
    hook.remove()
    layer.weight.mul_(4.0 / torch.cat([x.flatten() for x in logits]).std())
    layer.bias.fill_(0.0 if is_rcnn else -10.0)
    unused = torch.tensor(sorted(set(range(91)) - set(coco_ids())))
    if is_rcnn:
        layer.bias[unused[1:]] = -50.0  # a trained model never finds them, but for background
    else:
        layer.bias.view(9, 91)[:, unused] = -50.0


def coco_ids() -> tuple[int, ...]:
    project = PROJECTS / "retinanet_van_b0.yaml"
    return (
        van_dense.tasks.TASKS["detection"].dataset_info(van_dense.load_config(project)).category_ids
    )


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """RGB, with structure at several scales."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (8, 12, 3)).repeat(32, 0).repeat(32, 1)
    return (0.7 * coarse + 0.3 * rng.integers(0, 255, (*SIZE, 3))).astype(np.uint8)


def test_a_published_model_finds_the_same_objects_here(published, image, tmp_path):
    theirs, path, project, overrides = published
    message = import_weights(str(path), tmp_path / "ours.pt", project, overrides)
    assert "whole detector (torchvision layout)" in message
    ours = van_dense.load(tmp_path / "ours.pt").model
    rgb = torch.from_numpy(image).permute(2, 0, 1)
    with torch.no_grad():
        a = ours.predict(Batch(rgb[None], [SIZE], [SIZE], [1]))[0].instances
        b = theirs([rgb / 255])[0]
    index = {category: i for i, category in enumerate(coco_ids())}
    labels = torch.tensor([index[int(label)] for label in b["labels"]])
    b = Instances(boxes=b["boxes"], labels=labels, scores=b["scores"])
    assert_same_detections(a, b)
    assert_same_detections(b, a)


@pytest.mark.parametrize("published", ["maskrcnn"], indirect=True)
def test_masks_of_the_same_objects_have_the_same_probabilities(published, image, tmp_path):
    """Before they are pasted, which torchvision does with boxes of whole pixels."""
    theirs, path, project, overrides = published
    import_weights(str(path), tmp_path / "ours.pt", project, overrides)
    ours = van_dense.load(tmp_path / "ours.pt").model
    logits = []
    for module in (ours.mask.predictor, theirs.roi_heads.mask_predictor):
        module.register_forward_hook(lambda _, __, output: logits.append(output))
    rgb = torch.from_numpy(image).permute(2, 0, 1)
    with torch.no_grad():
        ours.predict(Batch(rgb[None], [SIZE], [SIZE], [1]))
        theirs([rgb / 255])
    assert len(logits[0]) > 20
    torch.testing.assert_close(logits[0], logits[1][:, coco_ids()], atol=1e-4, rtol=0)


def test_what_is_written_for_torchvision_is_what_was_read(published, image, tmp_path):
    theirs, path, project, overrides = published
    import_weights(str(path), tmp_path / "ours.pt", project, overrides)
    export_weights(str(tmp_path / "ours.pt"), tmp_path / "back.pth", "torchvision")
    before = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    try:
        theirs.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True))
        after = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
    finally:
        theirs.load_state_dict(state)
    assert len(before["boxes"]) > 5
    for key in ("boxes", "labels"):
        torch.testing.assert_close(after[key], before[key])
    torch.testing.assert_close(after["scores"], before["scores"], atol=1e-5, rtol=0)


def test_files_of_the_first_release_have_other_names():
    torch.manual_seed(0)
    state = retinanet().state_dict()
    ids = coco_ids()
    old = {}
    for key, value in state.items():
        if ".conv." in key and "_head" in key:
            before, _, rest = key.partition(".conv.")
            number, _, name = rest.split(".")
            key = f"{before}.conv.{2 * int(number)}.{name}"
        elif "_blocks." in key and "extra" not in key:
            key = key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        old[key] = value
    assert old.keys() != state.keys()
    config = van_dense.load_config(
        PROJECTS / "retinanet_r50_torchvision.yaml", ["model.engine=torchvision"]
    )
    new, first = van_dense.build_model(config), van_dense.build_model(config)
    new.load_state_dict(from_torchvision(state, ids))
    first.load_state_dict(from_torchvision(old, ids))
    for key, value in new.state_dict().items():
        assert value.equal(first.state_dict()[key]), key


def test_labels_are_category_ids_or_counted_from_one():
    bias = torch.tensor([9.0, 1.0, 2.0, 3.0])  # background, then three labels
    key = "roi_heads.box_predictor.cls_score.bias"
    (ours,) = from_torchvision({key: bias}, (1, 3)).values()
    assert ours.tolist() == [1, 3, 9]
    (ours,) = from_torchvision({key: bias}, (7, 0, 5)).values()
    assert ours.tolist() == [1, 2, 3, 9]
    with pytest.raises(ValueError, match=r"4 labels, background included, but .* 2 classes"):
        from_torchvision({key: bias}, (1, 2))
    (theirs,) = to_torchvision(
        {"box.class_logits.bias": torch.tensor([1.0, 3.0, 9.0])}, (1, 3)
    ).values()
    assert theirs.tolist() == [9, 1, -1e4, 3]
