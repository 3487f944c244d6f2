"""Schema of object detection and instance segmentation; see ``schema.py``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from van_dense.config.detection_data import DetectionData
from van_dense.config.engine import Engine, OnlyTorchvision
from van_dense.config.schema import (
    Backbone,
    Eval,
    Positive,
    PositiveFloat,
    Section,
    Train,
    Unit,
)

Pixels = PositiveFloat
Weight = Annotated[float, Field(ge=0.0)]
FivePixels = tuple[Pixels, Pixels, Pixels, Pixels, Pixels]


class FPN(Section):
    """Feature pyramid on top of the backbone."""

    channels: Positive = 256  # of every level
    norm: Literal["none", "group"] = "none"  # after each convolution of the pyramid


_Thresholds = TypeVar("_Thresholds", "RPN", "RetinaNetHead")


def _ordered(section: _Thresholds) -> _Thresholds:
    if section.negative_iou > section.positive_iou:
        both = f"negative_iou {section.negative_iou} is above positive_iou {section.positive_iou}"
        raise ValueError(f"{both}; an anchor would be background and foreground")
    return section


class RPN(Section):
    """Region proposals of Mask R-CNN (recipes of mmdet 2.x and PoolFormer)."""

    positive_iou: Unit = 0.7  # anchors from here on are foreground
    negative_iou: Unit = 0.3  # anchors below are background
    min_positive_iou: Unit = 0.3  # a box takes its best anchor only from here on
    samples: Positive = 256  # anchors of each image in the loss
    positive_fraction: Unit = 0.5  # of the samples, at most
    train_pre_nms: Positive = 2000  # per level
    train_post_nms: Positive = 1000  # per image
    test_pre_nms: Positive = 1000  # per level
    test_post_nms: Positive = 1000  # per image
    nms_iou: Unit = 0.7  # proposals that overlap a better one more are dropped
    smooth_l1_beta: Annotated[float, Field(ge=0.0)] = 0.0  # box loss is quadratic below; 0 = L1

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> RPN:
        return _ordered(self)


class BoxHead(Section):
    """Second stage of Mask R-CNN: classes and boxes."""

    channels: Positive = 1024  # of the two fully connected layers
    positive_iou: Unit = 0.5  # proposals from here on are foreground, the others background
    samples: Positive = 512  # proposals of each image in the loss
    positive_fraction: Unit = 0.25  # of the samples, at most
    score_threshold: Unit = 0.05  # detections below are dropped
    nms_iou: Unit = 0.5  # detections that overlap a better one of their class more are dropped
    max_detections: Positive = 100  # per image


class MaskHead(Section):
    """Mask branch of Mask R-CNN."""

    channels: Positive = 256  # of every layer
    convs: Positive = 4  # 3x3 convolutions before the deconvolution
    threshold: Unit = 0.5  # of the pasted mask probabilities


class Detector(Section):
    """What all detectors have."""

    kind: str
    engine: str

    @property
    def title(self) -> str:
        """For the plan."""
        return f"{self.kind}, engine {self.engine}"


class RoIAlign(Section):
    """How regions are cut out of the pyramid; others than mmdet's and Detectron2's for weights."""

    aligned: bool = True  # pixels have their centres at half coordinates; torchvision: false
    samples: Annotated[int, Field(ge=0)] = 0  # of a cell, each axis; 0 = pixels; torchvision: 2


class MaskRCNN(Detector):
    """Mask R-CNN with FPN, as in Table 10."""

    kind: Literal["maskrcnn"]
    engine: Engine = "auto"  # torchvision, detectron2, or auto: the second where it is installed
    backbone: Backbone  # required
    fpn: FPN = FPN()  # feature pyramid
    anchor_sizes: FivePixels = (32.0, 64.0, 128.0, 256.0, 512.0)  # of P2..P6, pixels
    round_anchors: bool = False  # to whole pixels; for weights of torchvision
    rpn: RPN = RPN()  # proposals
    roi_align: RoIAlign = RoIAlign()  # cuts regions out of the pyramid
    box_head: BoxHead = BoxHead()  # classes and boxes
    mask_head: MaskHead = MaskHead()  # masks


class CascadeRPN(RPN):
    """Region proposals of Cascade Mask R-CNN: more of them in training, and smooth L1."""

    train_post_nms: Positive = 2000  # per image
    smooth_l1_beta: Annotated[float, Field(ge=0.0)] = 1 / 9  # box loss is quadratic below; 0 = L1


class CascadeStage(Section):
    """What sets one stage of the cascade apart."""

    positive_iou: Unit  # regions from here on are foreground, the others background
    # Of the deltas dx, dy, dw, dh.
    box_stds: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat]
    loss_weight: Annotated[float, Field(ge=0.0)]  # of all its losses


class CascadeBoxHead(Section):
    """Box branch of each stage of Cascade Mask R-CNN (mmdet's and Swin's ``4conv1f``).

    mmdet's own ``cascade-mask-rcnn_r50_fpn`` has convs 0, layers 2 and one box for all classes.
    """

    convs: Annotated[int, Field(ge=0)] = 4  # 3x3 convolutions with BatchNorm
    conv_channels: Positive = 256  # of each of them
    layers: Literal[1, 2] = 1  # fully connected layers
    channels: Positive = 1024  # of each of them
    one_box: bool = False  # for all classes of a region, in place of a box for each
    giou_weight: Annotated[float, Field(ge=0.0)] = 10.0  # of the box loss beside that of classes
    samples: Positive = 512  # regions of each image in the loss
    positive_fraction: Unit = 0.25  # of the samples, at most
    score_threshold: Unit = 0.05  # detections below are dropped
    nms_iou: Unit = 0.5  # detections that overlap a better one of their class more are dropped
    max_detections: Positive = 100  # per image


class CascadeMaskRCNN(Detector):
    """Cascade Mask R-CNN with FPN, as in Table 11."""

    kind: Literal["cascade_maskrcnn"]
    engine: Engine = "auto"  # torchvision, detectron2, or auto: the second where it is installed
    backbone: Backbone  # required; its norm_mode holds for the box heads too
    fpn: FPN = FPN()  # feature pyramid
    anchor_sizes: FivePixels = (32.0, 64.0, 128.0, 256.0, 512.0)  # of P2..P6, pixels
    rpn: CascadeRPN = CascadeRPN()  # proposals
    box_head: CascadeBoxHead = CascadeBoxHead()  # classes and boxes
    mask_head: MaskHead = MaskHead()  # of each stage
    # What is averaged over the stages: probabilities as in Detectron2, or logits as in mmdet.
    average: Literal["probabilities", "logits"] = "probabilities"
    stages: Annotated[tuple[CascadeStage, ...], Field(min_length=1)] = (
        CascadeStage(positive_iou=0.5, box_stds=(0.1, 0.1, 0.2, 0.2), loss_weight=1.0),
        CascadeStage(positive_iou=0.6, box_stds=(0.05, 0.05, 0.1, 0.1), loss_weight=0.5),
        CascadeStage(positive_iou=0.7, box_stds=(0.033, 0.033, 0.067, 0.067), loss_weight=0.25),
    )  # each refines the boxes of the one before

    @model_validator(mode="after")
    def _detectron2_has_it(self) -> CascadeMaskRCNN:
        box = self.box_head
        other = {"average": self.average == "logits", "box_head.one_box": box.one_box}
        other |= {"box_head.layers": box.layers != 1, "box_head.convs": box.convs == 0}
        if self.engine == "detectron2" and any(other.values()):
            keys = ", ".join(key for key, is_other in other.items() if is_other)
            raise ValueError(f"{keys}: not on Detectron2; set model.engine=torchvision")
        return self

    @property
    def title(self) -> str:
        """For the plan."""
        return f"{self.kind}, {len(self.stages)} stages, engine {self.engine}"


class RetinaNetHead(Section):
    """Towers, assignment and post-processing of RetinaNet."""

    convs: Positive = 4  # 3x3 convolutions of each tower
    norm: Literal["none", "group"] = "none"  # after each tower convolution
    positive_iou: Unit = 0.5  # anchors from here on are foreground
    negative_iou: Unit = 0.4  # anchors below are background
    score_threshold: Unit = 0.05  # detections below are dropped
    nms_iou: Unit = 0.5  # detections that overlap a better one of their class more are dropped
    max_detections: Positive = 100  # per image

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> RetinaNetHead:
        return _ordered(self)


class RetinaNet(Detector):
    """RetinaNet, as in Table 9."""

    kind: Literal["retinanet"]
    engine: Engine = "auto"  # torchvision, detectron2, or auto: the second where it is installed
    backbone: Backbone  # required
    fpn: FPN = FPN()  # feature pyramid
    anchor_sizes: FivePixels = (32.0, 64.0, 128.0, 256.0, 512.0)  # of P3..P7, pixels
    round_anchors: bool = False  # to whole pixels; for weights of torchvision
    # What P6 is made from, and whether a ReLU precedes P7; others than mmdet have one.
    extra_levels: Literal["c5", "c5_relu", "p5_relu"] = "c5"
    head: RetinaNetHead = RetinaNetHead()  # towers, assignment and post-processing


class DynamicHead(Section):
    """One stage of Sparse R-CNN (sizes of mmdet 2.x)."""

    attention_heads: Positive = 8  # of the self-attention between proposals
    feedforward: Positive = 2048  # hidden channels
    dynamic_channels: Positive = 64  # hidden channels of the filters that each proposal makes


class SetWeights(Section):
    """Weights of the terms by which proposals and boxes are matched, and of the same losses."""

    focal: Weight = 2.0  # class
    l1: Weight = 5.0  # corners, relative to the image
    giou: Weight = 2.0  # overlap


class SparseRCNN(Detector):
    """Sparse R-CNN; the paper names it in the text of Table 11 and prints no row."""

    kind: Literal["sparsercnn"]
    engine: OnlyTorchvision = "torchvision"  # Detectron2 has none
    backbone: Backbone  # required
    fpn: FPN = FPN()  # feature pyramid
    proposals: Positive = 300  # learned boxes with a feature each, the same for every image
    stages: Positive = 6  # heads in a row, each with losses of its own
    head: DynamicHead = DynamicHead()  # of every stage
    weights: SetWeights = SetWeights()  # of the terms of the loss
    max_detections: Positive = 300  # per image; no box suppresses another

    @model_validator(mode="after")
    def _heads_divide_channels(self) -> SparseRCNN:
        if self.fpn.channels % self.head.attention_heads:
            heads = f"a multiple of head.attention_heads {self.head.attention_heads}"
            why = "every head gets the same number of channels"
            raise ValueError(f"fpn.channels {self.fpn.channels} is not {heads}; {why}")
        return self


class OneStageHead(Section):
    """Towers, assignment and post-processing of ATSS and GFL."""

    convs: Positive = 4  # 3x3 convolutions of each tower
    norm: Literal["none", "group"] = "group"  # after each tower convolution
    num_candidates: Positive = 9  # anchors of each level among which a box finds its positives
    score_threshold: Unit = 0.05  # detections below are dropped
    nms_iou: Unit = 0.6  # detections that overlap a better one of their class more are dropped
    max_detections: Positive = 100  # per image


class ATSS(Detector):
    """ATSS, as in Table 11."""

    kind: Literal["atss"]
    engine: OnlyTorchvision = "torchvision"  # Detectron2 has none
    backbone: Backbone  # required
    fpn: FPN = FPN()  # feature pyramid
    anchor_sizes: FivePixels = (64.0, 128.0, 256.0, 512.0, 1024.0)  # of P3..P7, pixels
    head: OneStageHead = OneStageHead()  # towers, assignment and post-processing


class GFL(Detector):
    """GFL (Generalized Focal Loss), as in Table 11."""

    kind: Literal["gfl"]
    engine: OnlyTorchvision = "torchvision"  # Detectron2 has none
    backbone: Backbone  # required
    fpn: FPN = FPN()  # feature pyramid
    anchor_sizes: FivePixels = (64.0, 128.0, 256.0, 512.0, 1024.0)  # of P3..P7, pixels
    max_distance: Positive = 16  # of an edge from its cell's centre, in strides (reg_max)
    head: OneStageHead = OneStageHead()  # towers, assignment and post-processing


AnyDetector = MaskRCNN | RetinaNet | SparseRCNN | ATSS | GFL | CascadeMaskRCNN


class DetectionEval(Eval):
    """Evaluation of detections; best_metric: none = segm/AP or bbox/AP."""

    backend: Literal["hotcoco", "pycocotools"] = "hotcoco"  # same numbers, first is faster
    max_detections: Positive = 100  # of an image and class that AP counts, the best ones; COCO's
    # By the rules of LVIS, whose limit is the best 300 of an image: AP of rare, common, frequent.
    federated: bool = False
    boundary: bool = False  # boundary AP of masks beside AP, which takes several times as long
    picture_score: Unit = 0.3  # detections below are not drawn

    @model_validator(mode="after")
    def _federated_has_rules_of_its_own(self) -> DetectionEval:
        if self.federated and self.backend == "pycocotools":
            raise ValueError("federated: pycocotools cannot; set eval.backend=hotcoco")
        if self.federated and self.max_detections != 100:
            limit = f"max_detections {self.max_detections} would not be used"
            fix = "federated counts the best 300 of an image; leave it out"
            raise ValueError(f"{limit}: {fix}")
        if self.federated and self.boundary:
            raise ValueError("boundary: boundary AP has COCO's rules; leave out eval.federated")
        return self

    @property
    def min_picture_score(self) -> float:
        """``picture_score``."""
        return self.picture_score


class DetectionConfig(Section):
    """A complete detection or instance segmentation experiment."""

    task: Literal["detection"]  # required
    seed: Annotated[int, Field(ge=0)] = 42  # of everything random
    data: DetectionData
    model: Annotated[AnyDetector, Field(discriminator="kind")]
    train: Train
    eval: DetectionEval = DetectionEval()

    @model_validator(mode="after")
    def _boundaries_are_of_masks(self) -> DetectionConfig:
        if self.eval.boundary and not isinstance(self.model, MaskRCNN | CascadeMaskRCNN):
            what = f"model.kind {self.model.kind} gives no masks"
            raise ValueError(f"eval.boundary is of masks, and {what}; leave it out")
        return self
