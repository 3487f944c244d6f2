"""Schema of the data of object detection: paths, formats and transforms; see ``schema.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from van_dense.config.schema import (
    CocoSplit,
    Crowds,
    Data,
    Positive,
    PositiveFloat,
    Section,
    Transforms,
    Unit,
)


class RandomCrop(Section):
    """Window cut out of some training images before they are resized, as in the 3x recipes."""

    # One is sampled for each image, before it is cropped.
    short_sides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (400, 500, 600)
    range: tuple[Positive, Positive] = (384, 600)  # smallest and largest side of the window
    prob: Unit = 0.5  # probability of a crop

    @model_validator(mode="after")
    def _range_in_order(self) -> RandomCrop:
        if self.range[0] > self.range[1]:
            raise ValueError(f"range {list(self.range)}: write the smaller side first")
        return self


class LargeScaleJitter(Section):
    """Random scale and a window of one size (LSJ), in place of short and long sides.

    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation", CVPR 2021.
    """

    size: tuple[Positive, Positive] = (1024, 1024)  # height and width of every training image
    # Range of the factor on the image that fits ``size``.
    scale: tuple[PositiveFloat, PositiveFloat] = (0.1, 2.0)

    @model_validator(mode="after")
    def _scale_in_order(self) -> LargeScaleJitter:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: write the smaller factor first")
        return self


class DetectionTransforms(Transforms):
    """Geometry of training and test images."""

    # Training: one is sampled for each image.
    short_sides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (800,)
    test_short_side: Positive = 800  # evaluation and prediction
    max_long_side: Positive = 1333  # the image is shrunk until its long side fits
    flip: Unit = 0.5  # probability of a horizontal flip
    color_jitter: Unit = 0.0  # strength of brightness, contrast and saturation changes
    crop: RandomCrop | None = None  # random crop before the resize; none = off
    # Training: replaces short_sides and max_long_side, and takes no crop beside it; none = off.
    large_scale_jitter: LargeScaleJitter | None = None

    @model_validator(mode="after")
    def _one_crop(self) -> DetectionTransforms:
        if self.crop is not None and self.large_scale_jitter is not None:
            raise ValueError(
                "crop and large_scale_jitter both cut windows; set one of them to null"
            )
        return self


class DetectionData(Data):
    """Where boxes and masks come from, and how images reach the model."""

    format: Literal["coco", "yolo"] = "coco"  # COCO JSON, or a YOLO folder with data.yaml
    name: str = "coco"
    train: CocoSplit | None = None  # COCO: training part
    val: CocoSplit | None = None  # COCO: validation part
    yolo_root: str | None = None  # YOLO: folder that holds data.yaml or obj.data, or such a file
    drop_empty: bool = True  # training leaves out images without any box, as mmdet does
    crowds: Crowds = "regions"  # COCO: what iscrowd 1 means; objects = exporters' run lengths
    transforms: DetectionTransforms = DetectionTransforms()
    group_by_aspect: bool = True

    @model_validator(mode="after")
    def _format_has_its_paths(self) -> DetectionData:
        if self.format == "coco" and (self.train is None or self.val is None):
            raise ValueError("format: coco needs data.train and data.val (images and annotations)")
        if self.format == "yolo" and self.yolo_root is None:
            raise ValueError("format: yolo needs data.yolo_root, the folder that holds data.yaml")
        return self

    def files(self) -> dict[str, str]:
        """Images and annotation files of both parts, or the YOLO folder."""
        if self.format == "yolo":
            return {"data.yolo_root": self.yolo_root or ""}
        assert self.train is not None and self.val is not None  # the validator demands it
        return self.part_files(train=self.train, val=self.val)
