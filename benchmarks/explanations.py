"""Do explanations lie on the objects, and only because the network has learnt something?

python benchmarks/explanations.py RUN [--masks] [key.path=value ...]

For everything in the first validation images that was found right, the share of its activation map
that lies on it, beside the share of the image that it fills, for the trained network and for the
same network with random weights, asked about the same things. Prints a table over layers and
methods; ``*`` marks what ``tools/explain.py`` takes by default. Right is, and "on it" means:

detection     score and IoU with an object of its class >= 0.5; the box, grown by 10 %
label maps    IoU of the region of a class >= 0.5; the region
saliency      IoU of the salient region >= 0.5; the region
pose          within a tenth of the crop's height of the annotated joint; a circle of an eighth
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torchvision.ops import box_iou

from van_dense import build_model, load
from van_dense.api import Loaded
from van_dense.core.structures import Instances, Sample
from van_dense.explain.cam import METHODS, activation_map, energy_inside
from van_dense.explain.cam_pages import default_layer, default_method
from van_dense.explain.layers import stage_layers
from van_dense.explain.subjects import Subject, subjects_of
from van_dense.explain.views import NetworkInput, network_input
from van_dense.models.explainable import MaskExplainable
from van_dense.tasks import TASKS

IMAGES, SCORE, IOU = 40, 0.5, 0.5
MOST = 100  # that are asked about, evenly taken from all
_NEAR, _RADIUS = 1 / 10, 1 / 8  # of a joint, in heights of the crop

Where = Sequence[float] | np.ndarray  # a box, or bool (H, W)


@dataclass(frozen=True)
class Asked:
    """Something that was found right, what was inputs of it, and where it lies."""

    inputs: NetworkInput
    subject: Subject
    where: Where


def right_subjects(loaded: Loaded, *, kind: str = "", images: int = IMAGES) -> list[Asked]:
    """What is found right in the first validation images; ``kind`` as of ``Subject``."""
    dataset = TASKS[loaded.config.task].build_dataset(loaded.config, "val")
    samples = (dataset.raw(index) for index in range(min(images, len(dataset))))
    return [
        asked for sample in samples for asked in _FINDERS[loaded.config.task](loaded, sample, kind)
    ]


def _found(loaded: Loaded, inputs: NetworkInput, kind: str = "") -> list[Subject]:
    target = f"{kind}:all" if kind else "all"
    return subjects_of(loaded, inputs, [target], min_score=SCORE)


def _right_boxes(loaded: Loaded, sample: Sample, kind: str) -> Iterator[Asked]:
    inputs = network_input(loaded, sample.image)
    assert sample.boxes is not None and sample.labels is not None
    size = (inputs.image.shape[0], inputs.image.shape[1])
    factor_y, factor_x = (new / old for new, old in zip(size, sample.size, strict=True))
    truth = torch.from_numpy(sample.boxes) * torch.tensor([factor_x, factor_y, factor_x, factor_y])
    for subject in _found(loaded, inputs, kind):
        assert subject.shown is not None and isinstance(subject.shown.instances, Instances)
        found = subject.shown.instances
        same = torch.from_numpy(sample.labels) == found.labels[0]
        if (box_iou(found.boxes, truth[same]) >= IOU).any():
            yield Asked(inputs, subject, found.boxes[0].tolist())


def _right_regions(loaded: Loaded, sample: Sample, _: str) -> Iterator[Asked]:
    inputs = network_input(loaded, sample.image)
    height, width = inputs.image.shape[:2]
    for subject in _found(loaded, inputs):
        truth = _truth(loaded, sample, subject).astype(np.uint8)
        truth = cv2.resize(truth, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        region = subject.region
        assert region is not None
        if (region & truth).sum() >= IOU * (region | truth).sum():
            yield Asked(inputs, subject, region)


def _truth(loaded: Loaded, sample: Sample, subject: Subject) -> np.ndarray:
    if sample.saliency is not None:
        return sample.saliency >= 0.5
    assert sample.semantic is not None
    return sample.semantic == loaded.info.class_names.index(subject.name)


def _right_joints(loaded: Loaded, sample: Sample, _: str) -> Iterator[Asked]:
    """Those of each annotated person, in a crop of its box."""
    assert sample.boxes is not None and sample.keypoints is not None
    for box, keypoints in zip(sample.boxes, sample.keypoints, strict=True):
        x0, y0 = np.floor(box[:2]).clip(min=0).astype(int)
        x1, y1 = np.ceil(box[2:]).astype(int)
        crop = sample.image[y0:y1, x0:x1]
        if not crop.size or not (keypoints[:, 2] > 0).any():
            continue
        inputs = network_input(loaded, np.ascontiguousarray(crop))
        height, width = inputs.image.shape[:2]
        scale = min(height / crop.shape[0], width / crop.shape[1])  # it fills the crop's middle
        points = (keypoints[:, :2] - (x0, y0) - np.array(crop.shape[1::-1]) / 2) * scale
        points += (width / 2, height / 2)
        rows, columns = np.mgrid[:height, :width] + 0.5
        for subject in _found(loaded, inputs):
            joint = loaded.info.keypoint_names.index(subject.name)
            assert subject.shown is not None and isinstance(subject.shown.instances, Instances)
            own = subject.shown.instances.keypoints
            assert own is not None
            x, y = own[0, joint, :2].tolist()
            apart = np.hypot(x - points[joint, 0], y - points[joint, 1])
            if keypoints[joint, 2] > 0 and apart <= _NEAR * height:
                yield Asked(inputs, subject, np.hypot(columns - x, rows - y) <= _RADIUS * height)


_FINDERS: dict[str, Callable[[Loaded, Sample, str], Iterator[Asked]]] = {
    "detection": _right_boxes,
    "semantic": _right_regions,
    "saliency": _right_regions,
    "pose": _right_joints,
}


def energy(
    loaded: Loaded, asked: Sequence[Asked], *, layer: str, method: str
) -> tuple[float, float]:
    """Mean share of the energy, and of the image, that lies on what was found."""
    shares = []
    for one in asked:
        images = loaded.model.preprocess(one.inputs.batch)  # type: ignore[operator]
        heat = activation_map(loaded.model, images, one.subject.score, layer=layer, method=method)
        height, width = one.inputs.image.shape[:2]
        shares.append(energy_inside(heat[:height, :width], one.where))
    inside, chance = np.mean(shares, axis=0)
    return float(inside), float(chance)


@contextmanager
def random_weights(loaded: Loaded) -> Iterator[None]:
    """The model with random weights; what was found before is asked about all the same."""
    trained = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    torch.manual_seed(0)
    loaded.model.load_state_dict(build_model(loaded.config, loaded.info).state_dict())
    try:
        yield
    finally:
        loaded.model.load_state_dict(trained)


def main() -> None:
    """Print the table."""
    run, *overrides = [argument for argument in sys.argv[1:] if argument != "--masks"]
    kind = "mask" if "--masks" in sys.argv else ""
    loaded = load(run, overrides=overrides, device="cpu", engine="torchvision")
    if loaded.config.task not in _FINDERS:
        raise SystemExit(f"a class lies nowhere: there is nothing to measure for {run}")
    if kind and not isinstance(loaded.model, MaskExplainable):
        raise SystemExit(f"--masks: {run} finds none")
    right = right_subjects(loaded, kind=kind)
    asked = right[:: -(-len(right) // MOST)]
    usual = default_layer(loaded, kind), default_method(loaded)
    layers = dict.fromkeys([*stage_layers(loaded.model.backbone)[1:], usual[0]])
    if loaded.config.task == "detection":
        layers["fpn.pyramid.layer_blocks.0"] = None  # P2
    pairs = [(layer, method) for layer in layers for method in METHODS]
    with random_weights(loaded):
        others = [energy(loaded, asked, layer=a, method=b)[0] for a, b in pairs]
    print("| layer | method | trained | random weights | by chance |\n|---|---|---|---|---|")
    for (layer, method), other in zip(pairs, others, strict=True):
        own, chance = energy(loaded, asked, layer=layer, method=method)
        mark = " *" if (layer, method) == usual else ""
        row = f"| {layer} | {method}{mark} | {own:.3f} | {other:.3f} | {chance:.3f} |"
        print(row, flush=True)
    print(f"\n{len(asked)} of {len(right)} right ones in at most {IMAGES} images")


if __name__ == "__main__":
    main()
