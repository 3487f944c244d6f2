"""Both engines are one network: same weights, same images, same detections and losses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers.same_detections import assert_same_detections

from benchmarks.harness.complexity import count_macs, count_parameters
from van_dense.config import load_config
from van_dense.config.engine import has_detectron2
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances
from van_dense.engine.optim import parameter_groups
from van_dense.tasks import TASKS

if not has_detectron2():
    pytest.skip("Detectron2 is not installed", allow_module_level=True)

PROJECTS = {
    "maskrcnn": ("projects/maskrcnn_van_b0.yaml", ("model.box_head.score_threshold=0.01",)),
    "maskrcnn, as torchvision": (
        "projects/maskrcnn_van_b0.yaml",
        (
            "model.box_head.score_threshold=0.01",
            "model.round_anchors=true",
            "model.roi_align={aligned: false, samples: 2}",
        ),
    ),
    "retinanet": ("projects/retinanet_van_b0.yaml", ("model.head.score_threshold=0.01",)),
    "retinanet, norms": (
        "projects/retinanet_van_b0.yaml",
        ("model.head={score_threshold: 0.01, norm: group, convs: 2}", "model.fpn.norm=group"),
    ),
    "cascade": (
        "projects/cascade_maskrcnn_van_b2_3x.yaml",
        (
            "model.backbone={name: van_b0, weights: null}",
            "model.box_head={convs: 2, conv_channels: 32, channels: 64, score_threshold: 0.01}",
            "model.mask_head={convs: 2, channels: 32}",
            "train.precision=fp32",
        ),
    ),
}
TINY = ("model.fpn.channels=32", "model.anchor_sizes=[16, 32, 48, 64, 96]")
INFO = DatasetInfo("toy", ("a", "b", "c"), (1, 2, 3))
SIZES = [(96, 128), (120, 90)]


@pytest.fixture(params=sorted(PROJECTS))
def configs(request):
    path, extra = PROJECTS[request.param]
    return {
        engine: load_config(path, [*TINY, *extra, f"model.engine={engine}"])
        for engine in ("torchvision", "detectron2")
    }


@pytest.fixture
def models(configs):
    """Models of both engines with the same weights, whose scores spread over 0..1."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    built = {e: TASKS["detection"].build_model(c, INFO) for e, c in configs.items()}
    ours, theirs = built["torchvision"], built["detectron2"]
    with torch.no_grad():
        for name, buffer in ours.backbone.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(0.5)
        for name, parameter in ours.named_parameters():
            if name.endswith("box.class_logits.weight"):  # of every second stage
                parameter *= 40
            elif name.endswith("box.box_deltas.weight"):
                parameter *= 20  # so that the boxes of a stage are not those of the one before
            elif name == "head.class_logits.weight":
                parameter.normal_(std=0.3)
            elif name == "head.class_logits.bias":
                parameter.fill_(-2.0)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 255, (2, 3, 128, 128), dtype=np.uint8))
    boxes = torch.tensor([[10.0, 12.0, 60.0, 70.0], [50.0, 5.0, 88.0, 90.0], [2.0, 60, 30.5, 93]])
    targets = []
    for size, labels in zip(SIZES, ([0, 2, 1], [1, 1, 2]), strict=True):
        masks = torch.zeros(3, *size, dtype=torch.uint8)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y0 : (y0 + y1) // 2, x0:x1] = 1
            mask[y0:y1, x0 : (x0 + x1) // 2] = 1
        targets.append(Instances(boxes=boxes, labels=torch.tensor(labels), masks=masks))
    return Batch(
        images=images,
        sizes=SIZES,
        orig_sizes=[(192, 256), (240, 180)],
        image_ids=[1, 2],
        targets=targets,
        seeds=[11, 12],
    )


def test_same_weights_and_images_give_the_same_detections(models, batch):
    ours, theirs = (model.eval().predict(batch) for model in models)
    for a, b in zip(ours, theirs, strict=True):
        assert a.image_id == b.image_id and a.size == b.size
        assert_same_detections(a.instances, b.instances)
        assert_same_detections(b.instances, a.instances)


@pytest.mark.parametrize("training", [True, False])
def test_losses_and_gradients_are_the_same(models, batch, training):
    gradients = []
    for model in models:
        model.train(training)
        torch.manual_seed(0)  # drop path
        losses = model(batch)
        sum(losses.values()).backward()
        assert model.training is training
        assert all(module.training is training for module in model.modules())
        gradients.append((losses, [p.grad for p in model.parameters()]))
    (ours, our_gradients), (theirs, their_gradients) = gradients
    assert list(ours) == list(theirs)
    for name, loss in ours.items():
        assert loss > 0
        assert abs(float(loss) - float(theirs[name])) < 1e-4, name
    # A bias before BatchNorm has no gradient but rounding errors: compare with the largest norm.
    scale = max(float(a.norm()) for a in our_gradients)
    for (name, _), a, b in zip(
        models[0].named_parameters(), our_gradients, their_gradients, strict=True
    ):
        assert float((a - b).norm()) < 1e-3 * float(a.norm()) + 1e-5 * scale, name


@pytest.mark.parametrize("empty", [(0,), (0, 1)], ids=["half", "all"])
def test_images_without_targets_have_the_same_losses(models, batch, empty):
    for image in empty:
        batch.targets[image] = Instances.empty()
    ours, theirs = (model.eval()(batch) for model in models)
    for name, loss in ours.items():
        assert float(loss) == pytest.approx(float(theirs[name]), abs=1e-4, rel=1e-6), name


def test_weights_that_are_not_finite_raise_and_their_losses_are_not_finite(models, batch):
    _, model = models
    head = "stages.1.box" if hasattr(models[0], "stages") else "rpn.head.bbox_pred"
    for name, parameter in model.eval().named_parameters():
        if name.startswith((head, "head.box_deltas")):
            torch.nn.init.constant_(parameter, float("nan"))
    assert not sum(model(batch).values()).isfinite()
    with pytest.raises(ValueError, match="non-finite"):
        model.predict(batch)


def test_the_seeds_of_the_images_decide_what_is_drawn(models, batch):
    _, model = models
    model.eval()
    torch.manual_seed(1)
    first = model(batch)
    torch.manual_seed(2)
    assert all(torch.equal(loss, model(batch)[name]) for name, loss in first.items())


def test_initial_weights_and_parameters_do_not_depend_on_the_engine(configs):
    built = []
    for config in configs.values():
        torch.manual_seed(5)
        built.append(TASKS["detection"].build_model(config, INFO))
    ours, theirs = (model.state_dict() for model in built)
    assert list(ours) == list(theirs)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    # The optimiser's state is kept by position, so the order must be the same too.
    for a, b in zip(*(model.parameters() for model in built), strict=True):
        assert torch.equal(a, b)
    settings = configs["torchvision"].train.optimizer
    a, b = (parameter_groups(model, settings) for model in built)
    assert [(g["name"], len(g["params"])) for g in a] == [(g["name"], len(g["params"])) for g in b]
    a, b = (list(dict(model.named_parameters("module"))) for model in built)
    assert a == b


def test_a_copy_has_its_own_weights(models, batch):
    _, model = models
    model.eval()
    before = model(batch)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert all(torch.equal(loss, model(batch)[name]) for name, loss in before.items())
    assert not any(torch.equal(loss, copied(batch)[name]) for name, loss in before.items())


def test_a_wrapped_model_keeps_its_names(models):
    ours, theirs = (torch.nn.ModuleDict({"inner": model}) for model in models)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize(
    ("project", "parameters", "giga"),
    [
        ("maskrcnn_van_b2", 46_232_880, 272.9),
        ("retinanet_van_b2", 36_315_444, 254.3),
        ("cascade_maskrcnn_van_b2_3x", 84_068_082, 751.84),
    ],
)
def test_the_counts_of_the_paper(project, parameters, giga):
    counts = {}
    for engine in ("torchvision", "detectron2"):
        config = load_config(f"projects/{project}.yaml", [f"model.engine={engine}"])
        with torch.device("meta"):
            task = TASKS["detection"]
            model = task.build_model(config, task.dataset_info(config)).eval()
        assert count_parameters(model) == parameters
        counts[engine] = count_macs(lambda m=model: m.flops_forward((800, 1280)), "mmcv")
    assert counts["torchvision"] == counts["detectron2"]
    assert counts["detectron2"] / 1e9 == pytest.approx(giga, rel=1e-3)


def test_a_model_that_detectron2_lacks_is_refused():
    from van_dense.integrations.detectron2.engine import on_detectron2

    with pytest.raises(ValueError, match="not built on Detectron2"):
        on_detectron2(torch.nn.Identity())
