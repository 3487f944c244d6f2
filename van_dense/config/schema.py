"""Every knob of the toolkit: one class per section, one comment per field, the only defaults.

Unknown keys are errors. Values that the VAN paper leaves open are marked "not in paper" in the
project files that set them. Lengths of training (milestones, evaluation and saving intervals) are
in the unit of the run: epochs where ``train.epochs`` is set, steps where ``train.steps`` is set.
This module imports no torch, so that a mistake is reported at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]
Size = Annotated[float, Field(gt=0.0)]
FiveSizes = tuple[Size, Size, Size, Size, Size]


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------- data


class CocoSplit(Section):
    """One part of a COCO data set."""

    images: str  # folder of the images
    annotations: str  # instances_*.json


class SampleData(Section):
    """The generated sample data set; it is written when its folder is missing."""

    root: str  # folder to write to
    train_images: Positive = 480  # scenes of the training part
    val_images: Positive = 60  # scenes of the validation part, from other seeds
    size: Annotated[int, Field(ge=64)] = 128  # height of a scene in pixels; widths vary around it
    seed: int = 0  # of the first scene


class DetectionTransforms(Section):
    """Geometry of training and test images."""

    short_sides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (
        800,
    )  # training: one is drawn for each image
    test_short_side: Positive = 800  # evaluation and prediction
    max_long_side: Positive = 1333  # the image is shrunk until its long side fits
    flip: Share = 0.5  # chance of a horizontal flip
    color_jitter: Share = 0.0  # strength of brightness, contrast and saturation changes


class DetectionData(Section):
    """Where boxes and masks come from, and how images reach the model."""

    format: Literal["coco", "yolo"] = "coco"  # COCO JSON, or a YOLO folder with data.yaml
    name: str = "coco"  # for titles and logs
    train: CocoSplit | None = None  # COCO: training part
    val: CocoSplit | None = None  # COCO: validation part
    yolo_root: str | None = None  # YOLO: folder that holds data.yaml
    sample: SampleData | None = None  # generate this data set first if it is missing
    quarantine: str | None = None  # list of bad records from tools/check_data.py, left out
    drop_empty: bool = True  # training leaves out images without any box, as mmdet does
    max_images: Positive | None = None  # only the first images of each part: can it overfit them?
    max_bad_share: Share = 0.01  # more unreadable images than this share stop the run
    transforms: DetectionTransforms = DetectionTransforms()
    size_divisor: Positive = 32  # padded sides are multiples of this
    group_by_aspect: bool = True  # batches of one orientation, so that padding stays small
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = (
        "auto"  # loader processes of each training process
    )

    @model_validator(mode="after")
    def _format_has_its_paths(self) -> DetectionData:
        if self.format == "coco" and (self.train is None or self.val is None):
            raise ValueError("format: coco needs data.train and data.val (images and annotations)")
        if self.format == "yolo" and self.yolo_root is None:
            raise ValueError("format: yolo needs data.yolo_root, the folder that holds data.yaml")
        return self


# --------------------------------------------------------------------------------------- model


class Backbone(Section):
    """Any timm model with feature maps at strides 4, 8, 16, 32."""

    name: str  # timm name: van_b0 .. van_b6, resnet50, swin_tiny_patch4_window7_224, ...
    weights: str | None = None  # published name (van_b2_in1k), a file, "timm", or none = random
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # stochastic depth, last block
    norm_mode: Literal["auto", "batch", "sync", "frozen"] = "auto"  # of the BatchNorm layers
    freeze_stages: Annotated[int, Field(ge=0, le=4)] = 0  # stages without gradient, from the stem
    norm_eps: Annotated[float, Field(gt=0)] | None = None  # VAN's LayerNorms; others keep theirs
    checkpointing: bool = False  # recompute activations in backward: less memory, more time
    options: dict[str, bool | int | float | str] = {}  # further arguments of the timm model


class FPN(Section):
    """Feature pyramid on top of the backbone."""

    channels: Positive = 256  # of every level
    norm: Literal["none", "group"] = "none"  # after each convolution of the pyramid


_Thresholds = TypeVar("_Thresholds", "RPN", "RetinaNetHead")


def _ordered(section: _Thresholds) -> _Thresholds:
    if section.negative_iou > section.positive_iou:
        raise ValueError(
            f"negative_iou {section.negative_iou} is above positive_iou {section.positive_iou}; "
            "an anchor would be background and foreground"
        )
    return section


class RPN(Section):
    """Region proposals of Mask R-CNN (recipes of mmdet 2.x and PoolFormer)."""

    positive_iou: Share = 0.7  # anchors from here on are foreground
    negative_iou: Share = 0.3  # anchors below are background
    min_positive_iou: Share = 0.3  # a box takes its best anchor only from here on
    samples: Positive = 256  # anchors of each image in the loss
    positive_share: Share = 0.5  # of the samples, at most
    train_pre_nms: Positive = 2000  # per level
    train_post_nms: Positive = 1000  # per image
    test_pre_nms: Positive = 1000  # per level
    test_post_nms: Positive = 1000  # per image
    nms_iou: Share = 0.7  # proposals that overlap a better one more than this go

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> RPN:
        return _ordered(self)


class BoxHead(Section):
    """Second stage of Mask R-CNN: classes and boxes."""

    channels: Positive = 1024  # of the two fully connected layers
    positive_iou: Share = 0.5  # proposals from here on are foreground, the others background
    samples: Positive = 512  # proposals of each image in the loss
    positive_share: Share = 0.25  # of the samples, at most
    score_threshold: Share = 0.05  # detections below go
    nms_iou: Share = 0.5  # those that overlap a better one of their class more than this go
    max_detections: Positive = 100  # per image


class MaskHead(Section):
    """Mask branch of Mask R-CNN."""

    channels: Positive = 256  # of every layer
    convs: Positive = 4  # 3x3 convolutions before the deconvolution
    threshold: Share = 0.5  # of the pasted mask probabilities


class MaskRCNN(Section):
    """Mask R-CNN with FPN, as in Table 10."""

    kind: Literal["maskrcnn"]
    engine: Literal["torchvision"] = "torchvision"  # the only engine so far
    backbone: Backbone  # required
    fpn: FPN = FPN()  # see there
    anchor_sizes: FiveSizes = (32.0, 64.0, 128.0, 256.0, 512.0)  # of P2..P6, pixels
    rpn: RPN = RPN()  # see there
    box_head: BoxHead = BoxHead()  # see there
    mask_head: MaskHead = MaskHead()  # see there


class RetinaNetHead(Section):
    """Towers, assignment and post-processing of RetinaNet."""

    convs: Positive = 4  # 3x3 convolutions of each tower
    norm: Literal["none", "group"] = "none"  # after each tower convolution
    positive_iou: Share = 0.5  # anchors from here on are foreground
    negative_iou: Share = 0.4  # anchors below are background
    score_threshold: Share = 0.05  # detections below go
    nms_iou: Share = 0.5  # those that overlap a better one of their class more than this go
    max_detections: Positive = 100  # per image

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> RetinaNetHead:
        return _ordered(self)


class RetinaNet(Section):
    """RetinaNet, as in Table 9."""

    kind: Literal["retinanet"]
    engine: Literal["torchvision"] = "torchvision"  # the only engine so far
    backbone: Backbone  # required
    fpn: FPN = FPN()  # see there
    anchor_sizes: FiveSizes = (32.0, 64.0, 128.0, 256.0, 512.0)  # of P3..P7, pixels
    head: RetinaNetHead = RetinaNetHead()  # see there


# ------------------------------------------------------------------------------------ training


class Optimizer(Section):
    """AdamW or SGD with weight decay groups."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-4  # for ``base_batch`` images a step
    base_batch: Positive = 16  # the batch size that ``lr`` was chosen for
    scale_lr: Literal["auto", "none", "linear", "sqrt"] = "auto"  # auto: sqrt Adam, linear SGD
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)  # Adam and AdamW only
    momentum: Momentum = 0.9  # SGD only
    weight_decay: Annotated[float, Field(ge=0)] = 0.05  # of the parameters that decay
    no_decay: tuple[str, ...] = ("norm",)  # parameters whose name holds one of these
    backbone_lr_factor: Annotated[float, Field(ge=0)] = 1.0  # learning rate of the backbone


class Schedule(Section):
    """Learning rate as a function of the step."""

    name: Literal["step", "poly", "cosine"] = "step"  # shape after the warm-up
    warmup_steps: Annotated[int, Field(ge=0)] = 500  # linear, always in steps
    warmup_ratio: Share = 0.001  # first factor of the warm-up
    milestones: tuple[float, ...] = (8, 11)  # step: x ``gamma`` after these epochs (or steps)
    gamma: Annotated[float, Field(gt=0)] = 0.1  # step: factor at each milestone
    power: Annotated[float, Field(gt=0)] = 0.9  # poly: (1 - progress) to this power
    min_factor: Share = 0.0  # poly and cosine end at this share of the learning rate


class Train(Section):
    """The loop."""

    epochs: Annotated[float, Field(gt=0)] | None = None  # length of the run, or ...
    steps: Positive | None = None  # ... its number of optimiser steps
    batch_size: Positive = 16  # images of one optimiser step, over all processes
    micro_batch: Positive | None = None  # images of one forward pass; smaller = accumulation
    optimizer: Optimizer = Optimizer()  # see there
    schedule: Schedule = Schedule()  # see there
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of autocast
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # of the whole gradient
    ema_decay: Share | None = None  # keep and evaluate an average of the weights
    channels_last: bool = False  # memory format of the model
    log_every: Positive = 20  # steps
    eval_every: Annotated[float, Field(gt=0)] | None = 1.0  # none: only at the end
    save_every: Annotated[float, Field(gt=0)] = 1.0  # epochs or steps, as eval_every
    keep_last: Positive = 2  # checkpoints, beside the best one
    patience: Positive | None = None  # evaluations without improvement before an early stop

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"set exactly one of train.epochs (now {self.epochs}) and train.steps (now "
                f"{self.steps}); null unsets one: train.steps=null"
            )
        return self


class DetectionEval(Section):
    """Evaluation during and after training."""

    batch_size: Positive = 1  # per process; 1 keeps results free of padding
    backend: Literal["faster", "pycocotools"] = "faster"  # same numbers, the first is faster
    best_metric: str | None = None  # chooses the best checkpoint; none = segm/AP or bbox/AP
    oracle_images: Annotated[int, Field(ge=0)] = 16  # ground truth pushed through before training
    pictures: Annotated[int, Field(ge=0)] = 8  # drawn after every evaluation
    picture_score: Share = 0.3  # results below are not drawn


class DetectionConfig(Section):
    """A complete detection or instance segmentation experiment."""

    task: Literal["detection"]  # required
    seed: Annotated[int, Field(ge=0)] = 42  # of everything random
    data: DetectionData  # see there
    model: Annotated[MaskRCNN | RetinaNet, Field(discriminator="kind")]
    train: Train
    eval: DetectionEval = DetectionEval()


Config = DetectionConfig
CONFIG_OF_TASK: dict[str, type[Config]] = {"detection": DetectionConfig}
