"""Schema of image classification; see ``schema.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from van_dense.config.schema import (
    Backbone,
    Data,
    Eval,
    PathText,
    Positive,
    PositiveFloat,
    Section,
    Train,
    Transforms,
    Unit,
)

Range = tuple[PositiveFloat, PositiveFloat]


class ClassTransforms(Transforms):
    """Geometry and colour; timm's names and values."""

    size: Positive = 224  # side of the square that the network sees
    train_crop: Literal["random_resized", "random"] = (
        "random_resized"  # of random area and ratio; or of the size, after ``resize`` (CUB)
    )
    scale: Range = (0.08, 1.0)  # random_resized: fraction of the area
    ratio: Range = (0.75, 4 / 3)  # random_resized: width to height
    train_interpolation: Literal["random", "bilinear", "bicubic"] = "random"  # random: one of both
    flip: Unit = 0.5  # probability of a horizontal flip
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"  # timm's policy; none = ``color_jitter``
    color_jitter: Unit | None = 0.4  # used where there is no ``auto_augment``, as in timm
    # Evaluation, and "random" in training: this side, then the centre; none = size / crop_pct.
    resize: Positive | None = None
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9  # see ``resize``
    # shorter: the shorter side is brought to it; squash: both sides, whatever the aspect.
    resize_mode: Literal["shorter", "squash"] = "shorter"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"  # of that resizing

    @model_validator(mode="after")
    def _crops_fit(self) -> ClassTransforms:
        if self.resize is not None and self.resize < self.size:
            sizes = f"resize {self.resize} is smaller than the crop of {self.size}"
            raise ValueError(f"{sizes}; make it at least as large")
        return self


class ClassData(Data):
    """Images in class folders, or in the layout of CUB-200-2011."""

    format: Literal["folder", "cub"] = "folder"  # <folder>/<class>/*.jpg; or images.txt and so on
    name: str = "imagenet"
    size_divisor: Positive = 1  # crops have one size, so nothing is padded
    train: PathText | None = None  # folder: training part
    val: PathText | None = None  # folder: validation part
    root: PathText | None = None  # cub: folder that holds images.txt
    classes: tuple[str, ...] | None = None  # folder: names in order; none = sorted folder names
    num_classes: Positive | None = None  # what must be found there; none = whatever is
    transforms: ClassTransforms = ClassTransforms()

    @model_validator(mode="after")
    def _format_has_its_paths(self) -> ClassData:
        if self.format == "folder" and (self.train is None or self.val is None):
            raise ValueError("format: folder needs data.train and data.val, folders of classes")
        if self.format == "cub" and self.root is None:
            raise ValueError("format: cub needs data.root, the folder that holds images.txt")
        return self

    def files(self) -> dict[str, str]:
        """The two folders, or the lists of CUB."""
        if self.format == "cub":
            return {"data.root": f"{self.root}/images.txt"}
        assert self.train is not None and self.val is not None  # the validator demands it
        return {"data.train": self.train, "data.val": self.val}


class Regularisation(Section):
    """What makes training harder; timm's names and values."""

    smoothing: Unit = 0.1  # of the labels
    mixup: Annotated[float, Field(ge=0.0)] = 0.0  # alpha of Beta(alpha, alpha), 0 = off
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0  # the same
    switch_prob: Unit = 0.5  # of cutmix, where both are on
    erasing: Unit = 0.0  # probability to erase a rectangle
    erasing_mode: Literal["const", "rand", "pixel"] = "pixel"  # zero, one or many random colours


class ClassModel(Section):
    """A whole timm model, with its own classifier."""

    backbone: Backbone  # required; ``weights`` fill the classifier too where it fits
    regularisation: Regularisation = Regularisation()  # in training only

    @property
    def title(self) -> str:
        """For the plan."""
        return "classifier"


class ClassEval(Eval):
    """Evaluation of classes; best_metric: none = classification/top1."""

    batch_size: Positive = 32  # images have one size, so nothing is padded


class ClassConfig(Section):
    """A complete classification experiment."""

    task: Literal["classification"]  # required
    seed: Annotated[int, Field(ge=0)] = 42  # of everything random
    data: ClassData
    model: ClassModel
    train: Train
    eval: ClassEval = ClassEval()

    @model_validator(mode="after")
    def _mixing_takes_pairs(self) -> ClassConfig:
        mixes = self.model.regularisation.mixup > 0 or self.model.regularisation.cutmix > 0
        micro = self.train.micro_batch or self.train.batch_size
        if mixes and micro % 2:
            raise ValueError(
                f"mixup and cutmix mix pairs, not {micro} images of a forward pass; make "
                "train.batch_size or train.micro_batch even, or model.regularisation.mixup and "
                ".cutmix 0"
            )
        return self
