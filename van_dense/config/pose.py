"""Schema of top-down pose estimation; see ``schema.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from van_dense.config.schema import (
    Backbone,
    CocoSplit,
    Crowds,
    Data,
    Eval,
    IndexUse,
    PathText,
    Positive,
    Section,
    Train,
    Transforms,
    Unit,
)

Side = Annotated[int, Field(gt=0, multiple_of=32)]


class Skeleton(Section):
    """What a data set does not say about its keypoints, or says otherwise; all by name."""

    keypoints: Annotated[tuple[str, ...], Field(min_length=1)]  # names in the order of the file
    # Pairs that swap under a flip, [] if none do; none = those that differ in left and right alone.
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    # Standard deviations of the OKS metric, in units of sqrt(area); none = the mean of COCO's.
    sigmas: tuple[Annotated[float, Field(gt=0.0)], ...] | None = None
    bones: tuple[tuple[str, str], ...] = ()  # pairs to join when drawing
    upper_body: tuple[str, ...] = ()  # the others are the lower half; half-body crops need it
    head: tuple[str, ...] = ()  # the largest distance between two of them is the unit of PCKh


class PoseTransforms(Transforms):
    """How the region of an instance is cropped; values of SimpleBaseline's recipe."""

    size: tuple[Side, Side] = (256, 192)  # height and width of the crop
    padding: Annotated[float, Field(gt=0.0)] = 1.25  # of the box, in training and test
    shift: Unit = 0.16  # the centre moves by up to this fraction of the region,
    shift_prob: Unit = 0.3  # with this probability
    flip: Unit = 0.5  # probability of a horizontal flip, left and right swapped by name
    half_body: Unit = 0.3  # probability of the upper or the lower half alone,
    half_body_min_joints: Annotated[int, Field(ge=0)] = 8  # where more joints are labelled
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5  # spread of the region's size around 1
    rotation: Annotated[float, Field(ge=0.0, le=90.0)] = 40.0  # standard deviation in degrees,
    rotation_prob: Unit = 0.6  # with this probability
    # Decode a JPEG at 1/2, 1/4 or 1/8 where the region of an instance stays larger than the crop.
    reduced_decoding: bool = True


class PoseData(Data):
    """COCO keypoints, and the boxes that the model crops."""

    name: str = "coco_keypoints"
    size_divisor: Positive = 1  # the model cuts its crops out of images of any size
    train: CocoSplit  # training part; boxes are the annotated ones
    val: CocoSplit  # validation part
    detections: PathText | None = None  # COCO results with the boxes of ``val``; none = annotated
    min_detection_score: Unit = 0.0  # detections below are left out; papers cut nothing
    skeleton: Skeleton | None = None  # none = as the annotation file says
    crowds: Crowds = "regions"  # what iscrowd 1 means; objects = exporters' run lengths
    # Keep large annotations in memory-mapped files beside them; auto = from 64 MB.
    index: IndexUse = "auto"
    transforms: PoseTransforms = PoseTransforms()

    def files(self) -> dict[str, str]:
        """Images, annotations and detections."""
        files = self.part_files(train=self.train, val=self.val)
        return files | ({"data.detections": self.detections} if self.detections else {})


class PoseModel(Section):
    """SimpleBaseline (Xiao et al., ECCV 2018), Table 15."""

    backbone: Backbone  # required
    # Of the deconvolutions, each of which doubles the resolution.
    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (256, 256, 256)
    # msra: rounded targets, argmax + 0.25 (paper). dark: exact targets, Taylor step (CVPR 2020).
    # udp: as dark, with pixel centres aligned (CVPR 2020).
    codec: Literal["msra", "dark", "udp"] = "msra"
    sigma: Annotated[float, Field(gt=0.0)] = 2.0  # of the targets, in heatmap pixels

    @property
    def title(self) -> str:
        """For the plan."""
        return f"SimpleBaseline, {self.codec}"


class PoseEval(Eval):
    """From heatmaps to scored persons; best_metric: none = keypoints/AP."""

    flip: bool = True  # average the heatmaps of image and mirror image
    joint_score: Unit = 0.2  # joints above it make the factor of the box score
    nms: Literal["hard", "soft", "none"] = "hard"  # of persons with almost the same pose
    nms_oks: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9  # hard: those more alike go
    backend: Literal["hotcoco", "pycocotools"] = "hotcoco"  # same numbers, first is faster
    max_detections: Positive = 20  # poses of an image and class that AP counts; COCO's
    picture_score: Unit = 0.3  # persons below are not drawn

    @property
    def min_picture_score(self) -> float:
        """``picture_score``."""
        return self.picture_score


class PoseConfig(Section):
    """A complete pose experiment."""

    task: Literal["pose"]  # required
    seed: Annotated[int, Field(ge=0)] = 42  # of everything random
    data: PoseData
    model: PoseModel
    train: Train
    eval: PoseEval = PoseEval()

    @model_validator(mode="after")
    def _halves_are_known(self) -> PoseConfig:
        skeleton = self.data.skeleton
        known = skeleton is None or skeleton.upper_body
        if self.data.transforms.half_body > 0 and not known:
            needs = "data.skeleton names no upper_body, which data.transforms.half_body needs"
            raise ValueError(f"{needs}; give it, or set data.transforms.half_body to 0")
        return self
