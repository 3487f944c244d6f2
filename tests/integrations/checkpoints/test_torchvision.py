"""A checkpoint of torchvision's detectors finds the same objects here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.same_detections import assert_same_detections
from PIL import Image
from torch import nn
from torchvision.models import detection

import van_dense
from van_dense.config.engine import has_detectron2
from van_dense.core.structures import Batch, Instances
from van_dense.integrations.checkpoints.torchvision import from_torchvision, to_torchvision
from van_dense.runs.convert import export_weights, import_weights

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
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


# The test of masks reads Mask R-CNN too.
@pytest.fixture(
    scope="module",
    params=[pytest.param("maskrcnn", marks=pytest.mark.slow), "retinanet", "retinanet_v2"],
)
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


def _of_the_first_release(key: str) -> str:
    """The name that torchvision 0.3 gave a weight."""
    if ".conv." in key and "_head" in key:  # RetinaNet's towers
        before, _, rest = key.partition(".conv.")
        number, _, name = rest.split(".")
        return f"{before}.conv.{2 * int(number)}.{name}"
    if "_blocks." in key and "extra" not in key:
        return key.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
    if key.startswith("rpn.head.conv."):
        return key.replace("conv.0.0.", "conv.")
    if key.startswith("roi_heads.mask_head."):
        _, _, number, _, name = key.split(".")
        return f"roi_heads.mask_head.mask_fcn{int(number) + 1}.{name}"
    return key


ENGINES = ["torchvision", *(["detectron2"] if has_detectron2() else [])]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("build", [maskrcnn, retinanet])
def test_files_of_the_first_release_have_other_names(build, engine):
    torch.manual_seed(0)
    state = build().state_dict()
    old = {_of_the_first_release(key): value for key, value in state.items()}
    assert len(old.keys() - state.keys()) > 10
    project = PROJECTS / f"{build.__name__}_r50_torchvision.yaml"
    config = van_dense.load_config(project, [f"model.engine={engine}"])
    new, first = van_dense.build_model(config), van_dense.build_model(config)
    new.load_state_dict(from_torchvision(state, coco_ids()))
    first.load_state_dict(from_torchvision(old, coco_ids()))
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


def test_a_file_with_classes_of_its_own_takes_those_of_its_annotations(tmp_path):
    names = ["bolt", "nut"]
    record = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16,
             "iscrowd": 0, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
        ],
    }  # fmt: skip
    (tmp_path / "own.json").write_text(json.dumps(record))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    model = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    part = f"{{images: {tmp_path}, annotations: {tmp_path / 'own.json'}}}"
    overrides = ["model.engine=torchvision", f"data.train={part}", f"data.val={part}"]
    project = str(PROJECTS / "retinanet_r50_torchvision.yaml")
    import_weights(str(tmp_path / "own.pth"), tmp_path / "ours.pt", project, overrides)
    assert van_dense.load(tmp_path / "ours.pt").info.class_names == tuple(names)
    with pytest.raises(ValueError, match="3 labels, background included, but the project has 80"):
        import_weights(str(tmp_path / "own.pth"), tmp_path / "x.pt", project, overrides[:1])


def test_another_network_is_summed_up(tmp_path):
    torch.save(maskrcnn().state_dict(), tmp_path / "file.pth")
    project = str(PROJECTS / "maskrcnn_r50_torchvision.yaml")
    overrides = ["model.engine=torchvision", "model.box_head.channels=512"]
    with pytest.raises(ValueError, match=r"6 of another shape: box\.head\.fc6\.weight") as raised:
        import_weights(str(tmp_path / "file.pth"), tmp_path / "x.pt", project, overrides)
    assert len(str(raised.value)) < 700
    with pytest.raises(ValueError, match="bring it here first, with --project"):
        export_weights(str(tmp_path / "file.pth"), tmp_path / "x.pth", "detectron2")
