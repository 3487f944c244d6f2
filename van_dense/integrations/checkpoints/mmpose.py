"""Whole SimpleBaseline networks of mmpose, read: names, and settings that make the same network.

Files of HRNet, of other heads and of other codecs hold other networks or other meanings of a
heatmap, which the config in the file says; the number of keypoints alone does not.
Source: ``HeatmapHead`` and ``MSRAHeatmap`` of mmpose 1.3, ``TopdownHeatmapSimpleHead`` of 0.29.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from van_dense.core.plain_text import one_line
from van_dense.integrations.checkpoints.fit import fill
from van_dense.integrations.checkpoints.openmmlab_backbones import renamed_network
from van_dense.integrations.checkpoints.openmmlab_networks import check_backbone
from van_dense.integrations.checkpoints.openmmlab_settings import (
    Config,
    overrides,
    setting,
    steps_of,
    type_of,
)

_NAMES = tuple(  # ours, theirs; the second head is that of 0.x
    (f"head.{ours}.", f"{head}.{theirs}.")
    for head in ("head", "keypoint_head")
    for ours, theirs in (("upsample", "deconv_layers"), ("final", "final_layer"))
)
_HINT = (
    "compare backbone, model.channels and number of keypoints of the config with those of the file"
)
_MODELS = ("TopdownPoseEstimator", "TopDown")
_HEADS = ("HeatmapHead", "TopdownHeatmapSimpleHead")
# What no project can set, at its places in 1.x and 0.x, with the only value that is read.
_FIXED: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("model.head.decoder.type",), "MSRAHeatmap"),
    (("model.head.decoder.unbiased",), False),
    (("model.head.input_transform", "model.keypoint_head.input_transform"), None),
    (("model.test_cfg.flip_mode",), "heatmap"),
    (("model.test_cfg.post_process",), "default"),
    (("model.test_cfg.unbiased_decoding",), False),
    (("model.test_cfg.use_udp",), False),
    (("model.test_cfg.target_type",), "GaussianHeatmap"),
)
_AFFINE = ("TopdownAffine", "TopDownAffine")
_NMS = {  # nms_mode of 1.x, soft_nms of 0.x
    "oks_nms": "hard",
    "soft_oks_nms": "soft",
    "none": "none",
    "False": "hard",
    "True": "soft",
}
_BOXES = ("GetBBoxCenterScale", "TopDownGetBboxCenterScale")


def load_pose(model: nn.Module, state: Mapping[str, Tensor], backbone: str) -> str:
    """Load a whole SimpleBaseline of mmpose into ours, and say what was loaded.

    Every weight of the model must come from the file and every weight of the file find its place:
    another network or another number of keypoints is a ValueError.

    Args:
        model: Our top-down pose network; filled in place.
        state: Tensors of the file by their keys.
        backbone: timm name of the model's backbone.
    """
    heads = ("head.deconv_layers.", "keypoint_head.deconv_layers.")
    if not any(key.startswith(heads) for key in state):
        raise ValueError(
            "this is no SimpleBaseline of mmpose (keys head.deconv_layers.* or "
            f"keypoint_head.deconv_layers.*); its keys are {list(state)[:5]}, ..."
        )
    ours = renamed_network(state, backbone, _NAMES)
    fill(model, ours, _HINT)
    return f"whole pose network (mmpose layout), {len(state)} tensors"


def check_network(config: Config | None, project: Config) -> None:
    """Make sure that the config of a file describes the network of a project, or ValueError.

    Args:
        config: That of the file; None, and what it does not say, is not checked.
        project: Config of the project, as plain data.
    """
    if config is None:
        return
    head = type_of(setting(config, "model.head", "model.keypoint_head"))
    for what, kind, read in (
        ("model.type", type_of(setting(config, "model")), _MODELS),
        ("the head", head, _HEADS),
    ):
        if kind and kind not in read:
            raise ValueError(
                f"{what} of the file is {one_line(kind)}; of mmpose, SimpleBaseline is read here: "
                f"{' and '.join(read)}"
            )
    check_backbone(config, setting(project, "model.backbone.name"))
    for path, found, expected in _codec(config):
        if found != expected:
            raise ValueError(
                f"{path} of the file is {one_line(found)}, and {one_line(expected)} is read: its "
                "heatmaps mean something else, or are read in another way"
            )
    if (codec := setting(project, "model.codec")) != "msra":
        raise ValueError(f"the file's heatmaps are those of model.codec=msra, not of {codec}")
    deconvolutions = setting(config, "model.head.deconv_out_channels") or setting(
        config, "model.keypoint_head.num_deconv_filters"
    )
    wanted = {} if deconvolutions is None else {"model.channels": deconvolutions}
    if wrong := overrides(wanted, project):
        raise ValueError(f"the file's head is another than the project's: set {' '.join(wrong)}")


def _codec(config: Config) -> Iterator[tuple[str, Any, Any]]:
    """Places in a config that say what heatmaps are, what is there, and what is read."""
    for paths, expected in _FIXED:
        yield paths[0], setting(config, *paths, default=expected), expected
    for step in steps_of(config, *_AFFINE):
        yield f"use_udp of {type_of(step)}", step.get("use_udp", False), False
    test = setting(config, "model.test_cfg", default={})
    if setting(test, "flip_test", default=False):
        path = "model.test_cfg.shift_heatmap"
        yield path, setting(test, "shift_heatmap", default=False), True


def taken_over(config: Config | None) -> dict[str, Any]:
    """What comes along with a file, by our paths: crops, heatmaps, flips and scores."""
    places = {
        "data.transforms.size": (  # width and height
            "model.head.decoder.input_size",
            "codec.input_size",
            "data_cfg.image_size",
        ),
        "model.sigma": ("model.head.decoder.sigma", "codec.sigma"),
        "eval.flip": ("model.test_cfg.flip_test",),
        "eval.joint_score": ("test_evaluator.keypoint_score_thr", "data_cfg.vis_thr"),
        "eval.nms_oks": ("test_evaluator.nms_thr", "data_cfg.oks_thr"),
        "eval.nms": ("test_evaluator.nms_mode", "data_cfg.soft_nms"),
    }
    taken = {ours: setting(config, *theirs) for ours, theirs in places.items()}
    for step in steps_of(config, *_BOXES):
        taken["data.transforms.padding"] = step.get("padding", 1.25)
    if isinstance(size := taken["data.transforms.size"], list | tuple):
        taken["data.transforms.size"] = size[::-1]
    taken["eval.nms"] = _NMS.get(str(taken["eval.nms"]))
    return {path: value for path, value in taken.items() if value is not None}
