"""Networks that OpenMMLab's packages build from their own configs, their files and their results.

Weights are random, and such that the results say something: statistics of norms fit the image
without being its own, and scores lie on both sides of their threshold.
"""

from __future__ import annotations

import copy
import importlib
import re
from pathlib import Path
from typing import Any

import torch
from integrations.openmmlab import stand_ins
from integrations.openmmlab.networks import Network
from torch import Tensor, nn

stand_ins.install()

import mmengine  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import MessageHub  # noqa: E402

# Outputs that decide what is found: deviation and mean of each channel of the first map or batch
# that they see.
_OUTPUTS = {
    "rpn_cls": (1.5, -1.0),
    "rpn_reg": (0.3, 0.0),
    "retina_cls": (2.5, -13.0),
    "retina_reg": (0.3, 0.0),
    "atss_cls": (2.5, -11.0),
    "atss_reg": (0.3, 0.0),
    "atss_centerness": (1.0, 0.0),
    "gfl_cls": (2.5, -11.0),
    "gfl_reg": (1.0, 0.0),
    "bbox_head.fc_cls": (2.0, -10.0),
    "bbox_head.N.fc_cls": (2.0, -6.0),  # of stages
    "bbox_head.fc_reg": (0.3, 0.0),
    "bbox_head.N.fc_reg": (0.1, 0.0),
    "conv_logits": (2.0, 0.0),
    "conv_seg": (2.0, 0.0),
    "final_layer": (0.2, 0.0),
}
_SOFTMAX = 81  # classes of COCO and the background, whose mean lies above theirs
_BACKGROUND = 0.0


def read_config(network: Network) -> Config:
    """The config, with the changes of `network` and without addresses of weights."""
    config = Config.fromfile(_config_file(network.package, network.config))
    if network.backbone is not None:
        other = Config.fromfile(_config_file(network.package, network.backbone)).model
        for part in ("backbone", "neck", "data_preprocessor"):
            config.model[part] = other[part]
    config.merge_from_dict(dict(network.options))
    return config


def _config_file(package: str, name: str) -> Path:
    folder = Path(importlib.import_module(package).__file__).parent
    return folder / ".mim" / "configs" / f"{name}.py"


def build(network: Network) -> tuple[nn.Module, Config]:
    """The network in evaluation mode, its weights being those that its package draws."""
    config = read_config(network)
    importlib.import_module(f"{network.package}.utils").register_all_modules(True)
    registry = importlib.import_module(f"{network.package}.registry")
    settings = copy.deepcopy(config.model)
    _without_downloads(settings)
    torch.manual_seed(0)
    model = registry.MODELS.build(settings)
    model.cfg = config
    model.dataset_meta = _dataset_meta(network.package, config, registry)
    return model.eval(), config


def _without_downloads(settings: Any) -> None:
    """Remove what would fetch weights, at any depth."""
    if isinstance(settings, dict):
        for key in ("init_cfg", "pretrained"):
            settings.pop(key, None)
        for value in settings.values():
            _without_downloads(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            _without_downloads(value)


def _dataset_meta(package: str, config: Config, registry: Any) -> dict[str, Any]:
    """What a data set of the config says of itself, and a runner writes into a checkpoint."""
    dataset = registry.DATASETS.get(config.train_dataloader.dataset.type)
    if package == "mmpose":
        from mmpose.datasets.datasets.utils import parse_pose_metainfo

        return parse_pose_metainfo(dataset.METAINFO)
    meta = dict(dataset.METAINFO)
    if package == "mmseg":
        meta |= {"label_map": None, "reduce_zero_label": True}
    return meta


@torch.no_grad()
def randomize(model: nn.Module, network: Network, image: Tensor) -> None:
    """Random weights, then norms and outputs that fit `image`, in one pass over it."""
    generator = torch.Generator().manual_seed(1)

    def normal(like: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.copy_(normal(module.weight, std=fan_in**-0.5))
            if module.bias is not None:
                module.bias.copy_(normal(module.bias, std=0.1))
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm):
            module.weight.copy_(normal(module.weight, mean=1.0, std=0.1))
            module.bias.copy_(normal(module.bias, std=0.1))
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight"):
            parameter.mul_(0.3)  # what a block adds; with 1.0, rounding grows from block to block
        elif name.endswith("relative_position_bias_table"):
            parameter.copy_(normal(parameter))
        elif name.endswith(("gamma", "layer_scale_1", "layer_scale_2", "scale")):
            parameter.copy_(normal(parameter, mean=1.0, std=0.1) * 0.5)
        elif name.endswith("init_proposal_bboxes.weight"):
            parameter.copy_(torch.rand(parameter.shape, generator=generator) * 0.5 + 0.2)
    hooks = [
        module.register_forward_hook(_Fit(_output(name), normal))
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) or _output(name) is not None
    ]
    found = predict(model, network, image)
    for hook in hooks:
        hook.remove()
    if network.package == "mmdet":
        _lower_scores(model, found["scores"])


def _lower_scores(model: nn.Module, scores: Tensor) -> None:
    """Move a quarter of the detections below the threshold of 0.05, the others toward it."""
    shift = scores.quantile(0.25).logit() - torch.tensor(0.05).logit()
    for name, module in model.named_modules():
        if name.endswith(("retina_cls", "atss_cls", "gfl_cls")):
            module.bias.sub_(shift)
        elif name.endswith("fc_cls") and len(module.bias) == _SOFTMAX:
            module.bias[-1] += shift


def _output(name: str) -> tuple[float, float] | None:
    """Deviation and mean that the output of a layer is to have; None for others."""
    path = re.sub(r"\.\d+\.", ".N.", name)
    return next((wanted for end, wanted in _OUTPUTS.items() if path.endswith(end)), None)


class _Fit:
    """A hook that fits a norm to its first input, or a layer so that its output spreads."""

    def __init__(self, wanted: tuple[float, float] | None, normal: Any) -> None:
        self.wanted, self.normal, self.is_done = wanted, normal, False

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self.is_done:
            return output
        self.is_done = True
        x = inputs[0] if self.wanted is None else output
        over = [axis for axis in range(x.ndim) if axis != 1]
        mean, std = x.mean(over), x.std(over, correction=0).clamp(min=0.1 * float(x.std()))
        if self.wanted is None:
            module.running_mean.copy_(mean + std * self.normal(mean, std=0.1))
            module.running_var.copy_(std**2 * self.normal(mean, 1.0, 0.1).clamp(min=0.5))
        else:
            gain = self.wanted[0] / std
            module.weight.mul_(gain.reshape(-1, *[1] * (module.weight.ndim - 1)))
            shift = self.normal(mean, self.wanted[1], self.wanted[0] / 4)
            if len(shift) == _SOFTMAX:
                shift[-1] = _BACKGROUND
            module.bias.copy_((module.bias - mean) * gain + shift)
        return module.forward(*inputs)


@torch.no_grad()
def predict(model: nn.Module, network: Network, image: Tensor) -> dict[str, Tensor]:
    """What the package finds in an image (H, W, 3), RGB, uint8, as tensors."""
    return _PREDICT[network.package](model, image)


def _sample(kind: type, image: Tensor) -> Any:
    size = tuple(image.shape[:2])
    return kind(metainfo={"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)})


def _detect(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    from mmdet.structures import DetDataSample

    bgr = image.flip(2).permute(2, 0, 1).contiguous()
    batch = {"inputs": [bgr], "data_samples": [_sample(DetDataSample, image)]}
    found = model.test_step(batch)[0].pred_instances
    result = {"boxes": found.bboxes, "scores": found.scores, "labels": found.labels}
    if "masks" in found:
        result["masks"] = torch.as_tensor(found.masks)
    return result


def _segment(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    from mmseg.structures import SegDataSample

    bgr = image.flip(2).permute(2, 0, 1).contiguous()
    batch = {"inputs": [bgr], "data_samples": [_sample(SegDataSample, image)]}
    torch.manual_seed(0)  # the bases of Light-Ham are drawn anew each time
    found = model.test_step(batch)[0]
    return {"logits": found.seg_logits.data, "labels": found.pred_sem_seg.data[0]}


# x1, y1, x2, y2 of two people in the image of 256x320, one of them partly outside.
PEOPLE = ((60.0, 30.0, 150.0, 230.0), (200.0, 100.0, 330.0, 240.0))


def _pose(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    import numpy as np
    from mmpose.apis import inference_topdown

    model.test_cfg["output_heatmaps"] = True
    bgr = np.ascontiguousarray(image.flip(2).numpy())
    boxes = np.array(PEOPLE, np.float32)
    crops: list[Tensor] = []
    hook = model.backbone.register_forward_pre_hook(lambda _, inputs: crops.append(inputs[0]))
    samples = inference_topdown(model, bgr, boxes)
    hook.remove()
    found = [sample.pred_instances for sample in samples]
    return {
        "boxes": torch.from_numpy(boxes),
        "keypoints": torch.from_numpy(np.concatenate([x.keypoints for x in found])),
        "scores": torch.from_numpy(np.concatenate([x.keypoint_scores for x in found])),
        "heatmaps": torch.stack([sample.pred_fields.heatmaps for sample in samples]),
        "crops": crops[0],  # normalised RGB; the flipped ones follow
    }


_PREDICT = {"mmdet": _detect, "mmseg": _segment, "mmpose": _pose}


def save_published(model: nn.Module, config: Config, path: Path) -> None:
    """Write the network as a runner of mmengine does, without what it needs to go on."""
    hub = MessageHub(path.stem)
    for loss in (2.0, 1.5):
        hub.update_scalar("train/loss", loss)
    hub.update_info("iter", 1)
    meta = {
        "cfg": config.pretty_text,
        "dataset_meta": model.dataset_meta,
        "seed": 0,
        "experiment_name": path.stem,
        "time": "20230101_000000",
        "mmengine_version": mmengine.__version__,
        "epoch": 1,
        "iter": 2,
    }
    content = {"meta": meta, "state_dict": model.state_dict(), "message_hub": hub.state_dict()}
    torch.save(content, path)


def picture(height: int, width: int) -> Tensor:
    """An image (H, W, 3), RGB, uint8, with structure at several scales."""
    generator = torch.Generator().manual_seed(height * width)
    image = torch.zeros(3, height, width)
    for cell, weight in ((64, 0.4), (16, 0.4), (1, 0.2)):
        shape = (1, 3, -(-height // cell), -(-width // cell))
        cells = torch.rand(shape, generator=generator)
        cells = cells.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[0]
        image += weight * cells[:, :height, :width]
    return (image * 255).byte().permute(1, 2, 0).contiguous()
