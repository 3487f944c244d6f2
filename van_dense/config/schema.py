"""The sections that every task shares: one class per section, one comment per field.

The schemas of the tasks lie beside this file; together they hold the only defaults. Unknown keys
are errors. Values that the VAN paper leaves open are marked "not in paper" in the project files
that set them. Lengths of training (milestones, cool-down, evaluation and saving intervals) are in
the unit of the run: epochs where ``train.epochs`` is set, steps where ``train.steps`` is set. This
package imports no torch, so that a mistake is reported at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from van_dense.core.paths import expand_path

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Triple = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]  # the unit interval: fractions, probabilities, IoUs
Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]


PathText = Annotated[str, AfterValidator(expand_path)]  # of a file or folder


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------- data


class SampleData(Section):
    """The generated sample data set; it is written when its folder is missing."""

    root: PathText  # folder to write to
    train_images: Positive = 480  # scenes of the training part
    val_images: Positive = 60  # scenes of the validation part, from other seeds
    size: Annotated[int, Field(ge=64)] = 128  # height of a scene in pixels; widths vary around it
    seed: int = 0  # of the first scene


class Data(Section):
    """What all data sets have."""

    name: str  # for titles and logs
    sample: SampleData | None = None  # generate this data set first if it is missing
    quarantine: PathText | None = None  # list of bad records from van-dense check, left out
    max_images: Positive | None = None  # only the first images of each part: can it overfit them?
    max_bad_fraction: Unit = 0.01  # more unreadable images than this fraction stop the run
    size_divisor: Positive = 32  # padded sides are multiples of this
    group_by_aspect: bool = False  # batches of one orientation, so that padding stays small
    # Loader processes of each training process.
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"

    def files(self) -> dict[str, str]:
        """Files and folders that must exist, by the key that names them."""
        raise NotImplementedError

    def part_files(self, **parts: Section) -> dict[str, str]:
        """Paths of all fields of some parts, by the keys that name them."""
        return {f"data.{key}.{name}": path for key, part in parts.items() for name, path in part}


def _no_words(options: dict[str, Any]) -> dict[str, Any]:
    """Find what was a boolean in YAML 1.1, where nothing says which kind of value is wanted."""
    for key, value in options.items():
        if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
            raise ValueError(f"{key}: {value!r} is text; write true or false")
    return options


def _named(spec: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(spec.get("name"), str):
        raise ValueError("needs a name, such as {name: Rotate, limit: 15, p: 0.5}")
    return _no_words(spec)


class Transforms(Section):
    """What the transforms of all tasks have."""

    # Training: transforms of albumentations in this order, each {name: Rotate, limit: 15, p: 0.5}.
    # They see images as they are read, before everything below; for poses, the finished crops.
    extra: tuple[Annotated[dict[str, Any], AfterValidator(_named)], ...] = ()


# What iscrowd 1 of COCO files means: a region of many objects, or one object.
Crowds = Literal["regions", "objects"]

# Whether large annotations are kept in an index, which all processes share.
IndexUse = Literal["auto", "never", "always"]


class CocoSplit(Section):
    """One part of a COCO data set."""

    images: PathText  # folder of the images
    annotations: PathText  # instances_*.json


# --------------------------------------------------------------------------------------- model

Option = bool | int | float | str | list[int]  # of a timm model


class Backbone(Section):
    """Any timm model: with maps at strides 4, 8, 16, 32, or with some of them, as plain ViTs."""

    name: str  # timm name: van_b0 .. van_b6, resnet50, swin_tiny_patch4_window7_224, ...
    # Published name (van_b2_in1k), file, run folder, "timm", or none.
    weights: PathText | None = None
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # stochastic depth, last block
    norm_mode: Literal["auto", "batch", "sync", "frozen"] = "auto"  # of the BatchNorm layers
    freeze_stages: Annotated[int, Field(ge=0, le=4)] = 0  # stages without gradient, from the stem
    # Mean and deviation of the pixels, RGB in 0..1; none = what the weights or timm's name say.
    mean: Triple | None = None
    std: Triple | None = None
    norm_eps: Annotated[float, Field(gt=0)] | None = None  # VAN's LayerNorms; none of others
    checkpointing: bool = False  # recompute activations in backward: less memory, more time
    # Further arguments of the timm model; blocks: [2, 5, 8, 11] says of which blocks of a plain
    # ViT c2..c5 are made, where they are not made of the last one.
    options: Annotated[dict[str, Option], AfterValidator(_no_words)] = {}

    @field_validator("norm_eps")
    @classmethod
    def _of_van_alone(cls, value: float | None, info: ValidationInfo) -> float | None:
        """None for other backbones, so that a resolved config shows no value that is not used."""
        return value if str(info.data.get("name", "")).startswith("van_") else None


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
    decay_vectors: bool = True  # false: none on biases and other 1-d tensors (timm's rule)
    backbone_lr_factor: Annotated[float, Field(ge=0)] = 1.0  # learning rate of the backbone
    # Factor of the learning rate from one layer of the backbone to the one below; 1 = off.
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class Schedule(Section):
    """Learning rate as a function of the step."""

    name: Literal["step", "poly", "cosine"] = "step"  # shape after the warm-up
    warmup_steps: Annotated[int, Field(ge=0)] = 500  # linear, always in steps
    warmup_ratio: Unit = 0.001  # first factor of the warm-up
    milestones: tuple[float, ...] = (8, 11)  # step: x ``gamma`` after these epochs (or steps)
    gamma: Annotated[float, Field(gt=0)] = 0.1  # step: factor at each milestone
    power: Annotated[float, Field(gt=0)] = 0.9  # poly: (1 - progress) to this power
    min_factor: Unit = 0.0  # poly and cosine end at this fraction of the learning rate
    cooldown: Annotated[float, Field(ge=0)] = 0.0  # poly and cosine: last epochs (or steps) there


class Train(Section):
    """The loop."""

    epochs: Annotated[float, Field(gt=0)] | None = None  # length of the run, or ...
    steps: Positive | None = None  # ... its number of optimiser steps
    start_from: PathText | None = None  # run or checkpoint: start from this whole network, not from
    # ``model.backbone.weights``; parts of another shape, such as those of other classes, start anew
    batch_size: Positive = 16  # images of one optimiser step, over all processes
    micro_batch: Positive | None = None  # images of one forward pass; smaller = accumulation
    optimizer: Optimizer = Optimizer()  # and learning rate
    schedule: Schedule = Schedule()  # of the learning rate
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of autocast
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # of the whole gradient
    ema_decay: Unit | None = None  # keep and evaluate an average of the weights
    channels_last: bool = False  # memory format of the model
    log_every: Positive = 20  # steps
    eval_every: Annotated[float, Field(gt=0)] | None = 1.0  # none: only at the end
    save_every: Annotated[float, Field(gt=0)] = 1.0  # epochs or steps, as eval_every
    keep_last: Positive = 2  # checkpoints, beside the best one
    patience: Positive | None = None  # evaluations without improvement before an early stop

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if (self.epochs is None) == (self.steps is None):
            both = f"train.epochs (now {self.epochs}) and train.steps (now {self.steps})"
            raise ValueError(f"set exactly one of {both}; null unsets one: train.steps=null")
        return self


class Eval(Section):
    """Evaluation during and after training, whatever the task."""

    batch_size: Positive = 1  # per process; 1 keeps results free of padding
    best_metric: str | None = None  # chooses the best checkpoint; none = the task's usual one
    oracle_images: Annotated[int, Field(ge=0)] = 16  # ground truth pushed through before training
    pictures: Annotated[int, Field(ge=0)] = 8  # drawn after every evaluation

    @property
    def min_picture_score(self) -> float:
        """Results below are not drawn; tasks without scores draw everything."""
        return 0.0
