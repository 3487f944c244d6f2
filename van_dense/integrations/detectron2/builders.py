"""VAN, and any timm backbone, for people who work in Detectron2's own code base.

Importing this file registers ``build_van_backbone``, ``build_van_fpn_backbone`` and
``build_retinanet_van_fpn_backbone`` for yacs configs and adds their section ``MODEL.VAN`` to the
defaults; ``lazy_van_fpn`` and ``lazy_retinanet_van_fpn`` are nodes of a LazyConfig. For complete
examples see ``projects/detectron2/``, for how to train them ``docs/detectron2.md``. This package's
own training on Detectron2 is in ``engine.py``.
Source of the interfaces: Detectron2 0.6 ``modeling/backbone/{backbone,build,fpn}.py``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

try:
    import detectron2  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Detectron2 is not installed; build it as "
        "https://detectron2.readthedocs.io/tutorials/install.html says"
    ) from error
from detectron2.config import CfgNode
from detectron2.config import LazyCall as Lazy
from detectron2.config.defaults import _C as DEFAULTS
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import Tensor

from van_dense.backbones.build import NormMode, build_backbone, norm_options
from van_dense.backbones.weights import load_pretrained

STAGES = ("res2", "res3", "res4", "res5")  # as Detectron2 calls the maps at strides 4 to 32


class VANBackbone(Backbone):
    """A timm backbone as Detectron2 takes it, or ValueError where name or weights do not fit.

    Args:
        name: timm name, such as "van_b2".
        weights: Published name such as "van_b2_in1k", file, or None for random weights.
        drop_path: Stochastic depth rate of the last block.
        norm_mode: Statistics of the BatchNorms: "auto", "batch", "sync" or "frozen".
        freeze_stages: Stem and this many stages stay as they are.
        norm_eps: Epsilon of VAN's LayerNorms; other backbones keep theirs.
        out_features: Which of "res2" to "res5" the backbone returns.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str | None = None,
        drop_path: float = 0.0,
        norm_mode: NormMode = "auto",
        freeze_stages: int = 0,
        norm_eps: float = 1e-5,
        out_features: Sequence[str] = STAGES,
    ) -> None:
        super().__init__()
        if unknown := set(out_features) - set(STAGES):
            raise ValueError(f"out_features: {sorted(unknown)} are unknown; there is {STAGES}")
        self.body = build_backbone(
            name,
            drop_path=drop_path,
            norm_mode=norm_mode,
            freeze_stages=freeze_stages,
            checkpointing=False,
            options=norm_options(name, norm_eps),
        )
        if weights:
            load_pretrained(self.body, weights)
        self._out_features = tuple(out_features)
        self.body.leave_out(min(STAGES.index(name) for name in out_features))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps of normalised RGB images (B, 3, H, W)."""
        maps = dict(zip(STAGES, self.body(images), strict=True))
        return {name: maps[name] for name in self._out_features}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every map."""
        shapes = zip(STAGES, self.body.channels, self.body.strides, strict=True)
        every = {name: ShapeSpec(channels=c, stride=s) for name, c, s in shapes}
        return {name: every[name] for name in self._out_features}


class StridedLevels(LastLevelP6P7):
    """P6 and P7 from C5 without the ReLU that Detectron2 applies between them.

    The VAN paper's RetinaNet follows mmdet 2.x (``relu_before_extra_convs=False``).
    """

    def forward(self, c5: Tensor) -> list[Tensor]:
        """[p6, p7] of c5."""
        p6 = self.p6(c5)
        return [p6, self.p7(p6)]


def add_van_config(config: CfgNode) -> None:
    """Add the section ``MODEL.VAN`` to a yacs config."""
    config.MODEL.VAN = CfgNode()
    config.MODEL.VAN.NAME = "van_b2"  # timm name
    config.MODEL.VAN.WEIGHTS = ""  # published name such as van_b2_in1k, or file; "" = random
    config.MODEL.VAN.DROP_PATH = 0.0  # stochastic depth of the last block
    config.MODEL.VAN.NORM_MODE = "auto"  # of the BatchNorm layers: auto, batch, sync, frozen
    config.MODEL.VAN.FREEZE_STAGES = 0  # stages without gradient, from the stem
    config.MODEL.VAN.NORM_EPS = 1e-5  # of VAN's LayerNorms, as its downstream recipes have it
    config.MODEL.VAN.OUT_FEATURES = list(STAGES)


add_van_config(DEFAULTS)  # get_cfg() of any training script copies these


@BACKBONE_REGISTRY.register()
def build_van_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> VANBackbone:
    """Backbone of ``MODEL.VAN`` alone."""
    return VANBackbone(**{key.lower(): value for key, value in cfg.MODEL.VAN.items()})


@BACKBONE_REGISTRY.register()
def build_van_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Backbone with Detectron2's pyramid P2 to P5 and a subsampled P6, for R-CNNs."""
    return _pyramid(cfg, build_van_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_van_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Backbone with Detectron2's pyramid P3 to P5, and P6 and P7 from C5."""
    backbone = build_van_backbone(cfg, input_shape)
    channels = backbone.output_shape()["res5"].channels
    return _pyramid(cfg, backbone, StridedLevels(channels, cfg.MODEL.FPN.OUT_CHANNELS))


def launch(main: Callable[..., None], *args: Any, **options: Any) -> None:
    """Detectron2's ``launch``, with the same arguments, whose processes know VAN too.

    A new process imports what it has to call, and so this module, before a config is made.
    """
    from detectron2.engine.launch import launch as launch_processes  # imports the whole engine

    launch_processes(partial(_call, main), *args, **options)


def _call(main: Callable[..., None], *args: Any) -> None:
    main(*args)


def _pyramid(cfg: CfgNode, backbone: VANBackbone, top: LastLevelMaxPool | LastLevelP6P7) -> FPN:
    fpn = cfg.MODEL.FPN
    return FPN(
        bottom_up=backbone,
        in_features=fpn.IN_FEATURES,
        out_channels=fpn.OUT_CHANNELS,
        norm=fpn.NORM,
        top_block=top,
        fuse_type=fpn.FUSE_TYPE,
    )


def lazy_van_fpn(name: str = "van_b2", **arguments: Any) -> Any:
    """LazyConfig node of backbone and pyramid P2 to P6, for ``model.backbone`` of an R-CNN.

    Name and further arguments are those of ``VANBackbone``, such as ``weights="van_b2_in1k"``.
    """
    backbone, top = Lazy(VANBackbone)(name=name, **arguments), Lazy(LastLevelMaxPool)()
    return Lazy(FPN)(bottom_up=backbone, in_features=list(STAGES), out_channels=256, top_block=top)


def lazy_retinanet_van_fpn(name: str = "van_b2", **arguments: Any) -> Any:
    """LazyConfig node of backbone and pyramid P3 to P7, for ``model.backbone`` of a RetinaNet.

    Name and further arguments are those of ``VANBackbone``, such as ``weights="van_b2_in1k"``.
    """
    with torch.device("meta"):  # the number of channels alone
        c5_channels = VANBackbone(name).output_shape()["res5"].channels
    return Lazy(FPN)(
        bottom_up=Lazy(VANBackbone)(name=name, **arguments),
        in_features=list(STAGES[1:]),
        out_channels=256,
        top_block=Lazy(StridedLevels)(in_channels=c5_channels, out_channels="${..out_channels}"),
    )
