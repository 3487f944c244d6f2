"""Settings of mmseg under which a file holds the network of a project, and those that come along.

Names and shapes of weights do not say how maps are enlarged, what is pooled or how a test image is
cut into windows. Where the config in a file describes another network than the project, that is a
ValueError with what to set; how images are tested is taken over.
Source: ``EncoderDecoder``, ``BaseDecodeHead`` and heads of mmseg 0.30 and 1.2.
"""

from collections.abc import Iterator
from typing import Any

from van_dense.core.plain_text import one_line
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.integrations.checkpoints.openmmlab_networks import check_backbone
from van_dense.integrations.checkpoints.openmmlab_settings import (
    Config,
    overrides,
    plain,
    setting,
    steps_of,
    type_of,
)

_HEAD = "model.decode_head"
_DECODERS = {"UPerHead": "upernet", "FPNHead": "semantic_fpn", "LightHamHead": "light_ham"}
_PROJECTS = {
    "upernet": "upernet_r50_mmseg",
    "semantic_fpn": "semfpn_r50_mmseg",
    "light_ham": "segnext_t",
}
_NORMS = ("BN", "SyncBN", "MMSyncBN", "NaiveSyncBN", "GN")
_MULTIPLES = ("ResizeToMultiple", "AlignResize")  # of mmseg and VAN-Segmentation
# What no project can set: values that a config may have, the first of them where it says nothing.
_FIXED: dict[str, tuple[Any, ...]] = {
    f"{_HEAD}.align_corners": (False,),
    f"{_HEAD}.conv_cfg": (None,),
    f"{_HEAD}.act_cfg.type": ("ReLU",),
    f"{_HEAD}.norm_cfg.type": _NORMS,
}
_FIXED_OF: dict[str, dict[str, tuple[Any, ...]]] = {
    "upernet": {f"{_HEAD}.in_index": ((0, 1, 2, 3),)},
    "semantic_fpn": {
        f"{_HEAD}.in_index": ((0, 1, 2, 3),),
        f"{_HEAD}.feature_strides": ((4, 8, 16, 32),),
        "model.neck.type": ("FPN",),
        "model.neck.num_outs": (4,),
        "model.neck.start_level": (0,),
        "model.neck.norm_cfg": (None,),
        "model.neck.act_cfg": (None,),
        "model.neck.upsample_cfg.mode": ("nearest",),
    },
    "light_ham": {f"{_HEAD}.in_index": ((1, 2, 3),)},
}
# Settings of both: our path, and theirs.
_SHARED: dict[str, dict[str, str]] = {
    "upernet": {
        "model.decoder.channels": f"{_HEAD}.channels",
        "model.decoder.pool_scales": f"{_HEAD}.pool_scales",
    },
    "semantic_fpn": {
        "model.decoder.channels": "model.neck.out_channels",
        "model.decoder.head_channels": f"{_HEAD}.channels",
    },
    "light_ham": {
        "model.decoder.channels": f"{_HEAD}.channels",
        "model.decoder.ham_channels": f"{_HEAD}.ham_channels",
        "model.decoder.rank": f"{_HEAD}.ham_kwargs.MD_R",
    },
}


def check_network(config: Config | None, project: Config) -> None:
    """Make sure that the config of a file describes the network of a project, or ValueError.

    Args:
        config: That of the file; None, and what it does not say, is not checked.
        project: Config of the project, as plain data.
    """
    if config is None:
        return
    kind = type_of(setting(config, "model"))
    if kind and kind != "EncoderDecoder":
        raise ValueError(
            f"model.type of the file is {one_line(kind)}; of mmseg an EncoderDecoder is read here"
        )
    check_backbone(config, setting(project, "model.backbone.name"))
    head = type_of(setting(config, _HEAD))
    if head and head not in _DECODERS:
        raise ValueError(
            f"{_HEAD}.type of the file is {one_line(head)}, which is not read here; "
            f"{', '.join(_DECODERS)} are"
        )
    decoder = setting(project, "model.decoder.name")
    if head and _DECODERS[head] != decoder:
        raise ValueError(
            f"the file has a {head} and the project the decoder {decoder}; "
            f"take a project of that decoder, such as {_PROJECTS[_DECODERS[head]]}"
        )
    if 1 in (setting(config, f"{_HEAD}.{key}") for key in ("out_channels", "num_classes")):
        raise ValueError(
            f"{_HEAD}.out_channels or num_classes of the file is 1: its one logit goes through a "
            "sigmoid and a threshold, and label maps here have a logit for each class; no setting "
            "gives this"
        )
    for path, allowed in {**_FIXED, **_FIXED_OF.get(decoder, {})}.items():
        found = setting(config, path, default=allowed[0])
        if plain(found) not in allowed:
            raise ValueError(
                f"{path} of the file is {one_line(found)}, and here it is {allowed[0]}: another "
                "network, which cannot be read"
            )
    theirs = {ours: setting(config, path) for ours, path in _SHARED.get(decoder, {}).items()}
    wanted = {path: value for path, value in theirs.items() if value is not None}
    if wrong := overrides(wanted, project):
        raise ValueError(
            f"the {head} of the file is another network than the project's: set {' '.join(wrong)}"
        )


def says_rank(config: Config | None) -> bool:
    """Does a config say the rank of Light-Ham? ``check_network`` has compared it then."""
    return setting(config, f"{_HEAD}.ham_kwargs.MD_R") is not None


def taken_over(file: ForeignFile, project: Config) -> dict[str, Any]:
    """What comes along with a file, by our paths: sizes and windows of the test, and colours."""
    taken: dict[str, Any] = dict(_resizing(file.config)) | dict(_windows(file.config))
    if (dropout := setting(file.config, f"{_HEAD}.dropout_ratio")) is not None:
        taken["model.decoder.dropout"] = dropout
    is_for_all = file.palette is not None and len(file.palette) == len(project["data"]["classes"])
    if is_for_all and project["data"]["colors"] is None:
        taken["data.colors"] = file.palette
    return taken


def _resizing(config: Config | None) -> Iterator[tuple[str, Any]]:
    """Size of a test image."""
    outer = next(steps_of(config, "MultiScaleFlipAug"), {})
    for step in steps_of(config, "Resize", "AlignResize"):
        scale = step.get("scale", step.get("img_scale")) or outer.get("img_scale")
        if isinstance(scale, list | tuple) and [type(side) for side in scale] == [int, int]:
            yield "data.transforms.test_scale", sorted(scale, reverse=True)
        multiples = [step.get("size_divisor", 32) for step in steps_of(config, *_MULTIPLES)]
        yield "data.transforms.test_multiple", max(multiples, default=1)
        return


def _padded_to(config: Config | None) -> int:
    """What the sides of a whole image are padded to multiples of; 1 where they stay."""
    own = setting(config, "model.data_preprocessor.test_cfg.size_divisor")
    steps = [step.get("size_divisor") for step in steps_of(config, "Pad")]
    return max((one for one in (own, *steps) if type(one) is int and one > 0), default=1)


def _windows(config: Config | None) -> Iterator[tuple[str, Any]]:
    """Whether an image is cut into windows, and into which."""
    test = setting(config, "model.test_cfg", "test_cfg")
    mode = setting(test, "mode")
    if mode in ("whole", "slide"):
        yield "eval.inference.mode", mode
    if mode == "whole":
        yield "eval.inference.multiple", _padded_to(config)
    for ours, theirs in (("crop", "crop_size"), ("stride", "stride")):
        if mode == "slide" and (sides := setting(test, theirs)) is not None:
            yield f"eval.inference.{ours}", sides
