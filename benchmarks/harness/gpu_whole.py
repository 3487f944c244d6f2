"""Whole detectors and segmenters on a GPU: training steps and predictions, random weights.

Batches are generated and lie on the GPU: what is measured is the network, with its losses, its
optimiser and its way back to results on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.harness.backbone import AUTOCAST
from benchmarks.harness.complexity import count_parameters
from benchmarks.harness.gpu_speed import Case, Found, Setting, Step, named, speed
from benchmarks.harness.trainer import BareLoop
from van_dense.config import Config, load_config
from van_dense.core.structures import Batch, Instances, Size
from van_dense.engine.plan import make_plan
from van_dense.tasks import task_of

WHOLE = {  # name: project, (height, width) of the images, and how many are trained on at once
    "Mask R-CNN, VAN-B2": ("maskrcnn_van_b2", (800, 1280), 8),
    "RetinaNet, VAN-B2": ("retinanet_van_b2", (800, 1280), 8),
    "UperNet, VAN-B2": ("upernet_van_b2", (512, 512), 16),
}
OBJECTS = 8  # of an image


def whole(setting: Setting) -> Iterator[Case]:
    """Training and prediction of each network, at first in bf16 and as projects train them."""
    for precision in setting.precisions:
        for channels_last in (False, True):
            for name in WHOLE:
                about = {"model": name, "amp_dtype": precision, "channels_last": channels_last}
                yield about, partial(_measure, setting, about)


def build_whole(name: str, *, tiny: bool) -> tuple[nn.Module, Config]:
    """A network with random weights, on the CPU, and its config."""
    overrides = ["model.backbone.weights=null", "model.backbone.drop_path=0"]
    if tiny:
        overrides.append("model.backbone.name=van_b0")
        narrow = "model.decoder.channels=16" if "upernet" in WHOLE[name][0] else None
        overrides.append(narrow or "model.fpn.channels=16")
    config = load_config(WHOLE[name][0], overrides)
    task = task_of(config)
    torch.manual_seed(0)
    return task.build_model(config, task.dataset_info(config)), config


def generated_batch(name: str, size: Size, images: int) -> Batch:
    """Noise, with boxes and their masks or stripes of classes as ground truth; on the CPU."""
    random = torch.Generator().manual_seed(0)
    height, width = size
    batch = Batch(
        images=torch.randint(256, (images, 3, *size), dtype=torch.uint8, generator=random),
        sizes=[size] * images,
        orig_sizes=[size] * images,
        image_ids=list(range(images)),
        seeds=list(range(images)),
    )
    if "upernet" in WHOLE[name][0]:
        stripes = torch.arange(height) * 20 // height
        batch.semantic = stripes[None, :, None].expand(images, height, width).contiguous()
        return batch
    corners = torch.rand(images, OBJECTS, 2, generator=random) * 0.6
    sides = 0.1 + 0.3 * torch.rand(images, OBJECTS, 2, generator=random)
    boxes = torch.cat([corners, corners + sides], dim=2) * torch.tensor([width, height] * 2)
    labels = torch.arange(OBJECTS)
    batch.targets = [Instances(one, labels, masks=_filled(one, size)) for one in boxes]
    return batch


def _filled(boxes: torch.Tensor, size: Size) -> torch.Tensor:
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks


def _measure(setting: Setting, about: Found) -> Found:
    name = about["model"]
    _, size, batch = WHOLE[name]
    if setting.tiny:
        size, batch = (64, 96), 2
    model, config = build_whole(name, tiny=setting.tiny)
    found: Found = {"param_count": round(count_parameters(model) / 1e6, 2)}
    update = {"precision": about["amp_dtype"], "channels_last": about["channels_last"]}
    settings = config.train.model_copy(update=update)
    loop = BareLoop(model, make_plan(settings, num_images=100_000, world_size=1))
    for part, make in (("train", _training), ("infer", _prediction)):
        make_step = partial(make, loop, name, size, about["amp_dtype"])
        found |= named(part, speed(make_step, batch, setting), size)
    return found


def _training(loop: BareLoop, name: str, size: Size, precision: str, images: int) -> Step:
    batch = generated_batch(name, size, images).to(loop.device)
    return partial(loop.step, batch)


def _prediction(loop: BareLoop, name: str, size: Size, precision: str, images: int) -> Step:
    batch = generated_batch(name, size, images).to(loop.device)
    model = loop.model.eval()
    predict: Callable[[Batch], object] = model.predict

    def step() -> None:
        with torch.inference_mode(), torch.autocast(loop.device.type, AUTOCAST[precision]):
            predict(batch)

    return step
