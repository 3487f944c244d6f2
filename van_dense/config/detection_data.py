"""Schema of the data of object detection: paths, formats and transforms; see ``schema.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from van_dense.config.schema import (
    CocoSplit,
    Crowds,
    Data,
    IndexUse,
    PathText,
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


class PerImageFiles(Section):
    """What formats with one annotation file for each image have in common."""

    # Names of all classes, in order; none = those of the training part, sorted. Others are left
    # out, and counted.
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    # Names of the files to names of classes, such as {rbc: RBC}.
    rename: dict[str, str] = Field(default_factory=dict)
    # Objects marked as difficult: "ignore" leaves them out of training, and counts them neither as
    # found nor as missed, as VOC's evaluation and mmdet do; "use" takes them as all others.
    difficult: Literal["ignore", "use"] = "ignore"


class VocData(PerImageFiles):
    """Pascal VOC: XML files; a part is a list of ImageSets/Main, or a folder."""

    root: PathText  # folder that holds Annotations, JPEGImages and ImageSets
    train: PathText = "train"  # training part
    val: PathText = "val"  # validation part
    # Number of the first pixel: VOC itself counts from 1. "auto": 0 if any corner lies below 1.
    first_pixel: Literal["auto", 0, 1] = "auto"


class LabelmeData(PerImageFiles):
    """Files of labelme, AnyLabeling or X-AnyLabeling: one JSON file for each image."""

    train: PathText  # folder of the training part
    val: PathText  # folder of the validation part
    # What a number behind a label counts (person-1, person-2): "objects" of one class, or
    # "classes". Such labels are an error until this is set.
    numbers: Literal["objects", "classes"] | None = None
    join_groups: bool = True  # shapes of one label and one group_id are one object


class DetectionData(Data):
    """Where boxes and masks come from, and how images reach the model."""

    # COCO JSON, a YOLO folder with data.yaml, Pascal VOC XML, or labelme JSON.
    format: Literal["coco", "yolo", "voc", "labelme"] = "coco"
    name: str = "coco"
    train: CocoSplit | None = None  # COCO: training part
    val: CocoSplit | None = None  # COCO: validation part
    yolo_root: PathText | None = None  # YOLO: folder of data.yaml or obj.data, or such a file
    voc: VocData | None = None  # Pascal VOC: folder and parts
    labelme: LabelmeData | None = None  # labelme: folders of both parts
    drop_empty: bool = True  # training leaves out images without any box, as mmdet does
    crowds: Crowds = "regions"  # COCO: what iscrowd 1 means; objects = exporters' run lengths
    # COCO and YOLO: keep large annotations in memory-mapped files beside them; auto = from 64 MB.
    index: IndexUse = "auto"
    transforms: DetectionTransforms = DetectionTransforms()
    group_by_aspect: bool = True

    @model_validator(mode="after")
    def _format_has_its_paths(self) -> DetectionData:
        if self.format == "coco" and (self.train is None or self.val is None):
            raise ValueError("format: coco needs data.train and data.val (images and annotations)")
        if self.format == "yolo" and self.yolo_root is None:
            raise ValueError("format: yolo needs data.yolo_root, the folder that holds data.yaml")
        if self.format == "voc" and self.voc is None:
            raise ValueError("format: voc needs data.voc.root, the folder that holds Annotations")
        if self.format == "labelme" and self.labelme is None:
            raise ValueError("format: labelme needs data.labelme.train and data.labelme.val")
        return self

    def files(self) -> dict[str, str]:
        """Images and annotation files of both parts, or the folders of other formats."""
        if self.format == "voc" and self.voc is not None:
            return {"data.voc.root": self.voc.root}
        if self.format == "labelme" and self.labelme is not None:
            return {f"data.labelme.{key}": getattr(self.labelme, key) for key in ("train", "val")}
        if self.format == "yolo":
            return {"data.yolo_root": self.yolo_root or ""}
        assert self.train is not None and self.val is not None  # the validator demands it
        return self.part_files(train=self.train, val=self.val)
