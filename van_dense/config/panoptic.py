"""Schema of panoptic segmentation; see ``schema.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from van_dense.config.detection import MaskRCNN, Weight
from van_dense.config.detection_data import DetectionTransforms
from van_dense.config.engine import OnlyTorchvision
from van_dense.config.schema import Backbone, Data, Eval, PathText, Positive, Section, Train, Unit

EvalType = Literal["panoptic", "instance", "semantic"]


class PanopticSplit(Section):
    """One part of a data set in COCO's panoptic layout."""

    images: PathText  # folder of the images
    annotations: PathText  # panoptic_*.json
    masks: PathText | None = None  # folder of the PNGs; none = named as the JSON, beside it

    @property
    def mask_folder(self) -> str:
        """Folder of the PNGs."""
        return self.masks or str(Path(self.annotations).with_suffix(""))


class PanopticValidation(PanopticSplit):
    """The validation part."""

    # instances_*.json that eval.types: [instance] compares with; none = things of the panoptic maps
    instances: PathText | None = None


class PanopticData(Data):
    """Where panoptic maps come from, and how images reach the model."""

    name: str = "coco_panoptic"
    train: PanopticSplit  # training part
    val: PanopticValidation  # validation part
    transforms: DetectionTransforms = DetectionTransforms()
    group_by_aspect: bool = True

    def files(self) -> dict[str, str]:
        """Images, annotation files and folders of PNGs of both parts."""
        files: dict[str, str] = {}
        for key, part in (("train", self.train), ("val", self.val)):
            files |= {
                f"data.{key}.images": part.images,
                f"data.{key}.annotations": part.annotations,
                f"data.{key}.masks": part.mask_folder,
            }
        if self.val.instances is not None:
            files["data.val.instances"] = self.val.instances
        return files


class PixelDecoder(Section):
    """Multi-scale deformable attention of Mask2Former over strides 8, 16 and 32."""

    layers: Positive = 6  # of self-attention
    feedforward: Positive = 1024  # hidden channels of each layer


class QueryDecoder(Section):
    """Masked attention of Mask2Former between queries and pixels."""

    layers: Positive = 9  # round-robin over three scales
    feedforward: Positive = 2048  # hidden channels of each layer


class MaskLoss(Section):
    """Weights of the terms by which queries and segments are matched, and of the same losses."""

    class_weight: Weight = 2.0  # cross-entropy of the classes
    no_object: Weight = 0.1  # of "no object" among the classes; matching knows none
    mask: Weight = 5.0  # binary cross-entropy at sampled points
    dice: Weight = 5.0  # Dice at sampled points
    points: Positive = 12544  # sampled of each mask
    oversample: Annotated[float, Field(ge=1.0)] = 3.0  # candidates drawn, in multiples of points
    importance: Unit = 0.75  # fraction of the points taken where the mask is most uncertain


class PanopticFilter(Section):
    """From the masks of queries to segments that do not overlap (rules of Mask2Former)."""

    score_threshold: Unit = 0.8  # queries below are dropped
    mask_threshold: Unit = 0.5  # of the mask probabilities
    overlap_threshold: Unit = 0.8  # segments of whose mask less is visible are dropped
    max_instances: Positive = 100  # per image, for eval.types: [instance]


class Mask2Former(Section):
    """Mask2Former of transformers (CVPR 2022), as in Table 14."""

    kind: Literal["mask2former"]
    backbone: Backbone  # required
    queries: Positive = 100  # learned, each gives one mask and one class
    # Of pixel decoder, queries and mask features; its GroupNorms have 32 groups.
    channels: Annotated[int, Field(ge=32, multiple_of=32)] = 256
    attention_heads: Positive = 8  # of both decoders
    pixel_decoder: PixelDecoder = PixelDecoder()  # before the queries
    decoder: QueryDecoder = QueryDecoder()  # of the queries
    checkpointing: bool = False  # recompute both decoders in backward: less memory, more time
    loss: MaskLoss = MaskLoss()  # weights and points
    filter: PanopticFilter = PanopticFilter()  # from queries to segments

    @model_validator(mode="after")
    def _heads_divide_channels(self) -> Mask2Former:
        if self.channels % self.attention_heads:
            heads = f"a multiple of attention_heads {self.attention_heads}"
            why = "every head gets the same number of channels"
            raise ValueError(f"channels {self.channels} is not {heads}; {why}")
        return self

    @property
    def title(self) -> str:
        """For the plan."""
        return f"{self.kind}, {self.queries} queries"


class SemanticHead(Section):
    """Stuff, and all things as one class, from the pyramid of the detector (Semantic FPN)."""

    channels: Positive = 128  # of the convolutions that bring every level to stride 4
    norm: Literal["batch", "group"] = "group"  # after each of them
    weight: Weight = 0.5  # of its loss beside those of the detector


class PanopticMerge(Section):
    """From instances and a label map to segments that do not overlap (rules of Detectron2)."""

    score_threshold: Unit = 0.5  # instances below are dropped
    overlap_threshold: Unit = 0.5  # instances of whose mask more is covered by surer ones go
    stuff_area: Annotated[int, Field(ge=0)] = 4096  # pixels; smaller regions of stuff become void


class PanopticFPN(MaskRCNN):
    """Panoptic FPN (CVPR 2019): Mask R-CNN and Semantic FPN over one pyramid."""

    kind: Literal["panoptic_fpn"]  # type: ignore[assignment]
    engine: OnlyTorchvision = "torchvision"  # Detectron2 is not used for it
    semantic_head: SemanticHead = SemanticHead()  # of stuff
    merge: PanopticMerge = PanopticMerge()  # of both heads


class PanopticEval(Eval):
    """Evaluation of panoptic maps; best_metric: none = panoptic/PQ, or that of the first type."""

    # What one run is asked and measured by.
    types: Annotated[tuple[EvalType, ...], Field(min_length=1)] = ("panoptic",)
    boundary: bool = False  # boundary PQ beside PQ, which takes several times as long
    backend: Literal["hotcoco", "pycocotools"] = "hotcoco"  # of instances: same numbers
    max_detections: Positive = 100  # instance: of an image and class that AP counts; COCO's
    save_predictions: bool = False  # write PNGs and JSON as the official servers want them
    picture_score: Unit = 0.3  # instances below are not drawn

    @model_validator(mode="after")
    def _types_go_together(self) -> PanopticEval:
        if len(set(self.types)) < len(self.types):
            raise ValueError(f"types {list(self.types)}: name each once")
        if "panoptic" not in self.types:
            names = ("boundary", "save_predictions")
            if unused := [name for name in names if getattr(self, name)]:
                fix = "add panoptic to eval.types"
                raise ValueError(f"{', '.join(unused)} is of panoptic maps; {fix}")
        return self

    @property
    def min_picture_score(self) -> float:
        """``picture_score``."""
        return self.picture_score


class PanopticConfig(Section):
    """A complete panoptic segmentation experiment."""

    task: Literal["panoptic"]  # required
    seed: Annotated[int, Field(ge=0)] = 42  # of everything random
    data: PanopticData
    model: Annotated[Mask2Former | PanopticFPN, Field(discriminator="kind")]
    train: Train
    eval: PanopticEval = PanopticEval()
