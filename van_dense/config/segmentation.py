"""Schema of semantic segmentation and of saliency; see ``schema.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from van_dense.config.schema import (
    Backbone,
    Data,
    Eval,
    PathText,
    Positive,
    Section,
    Train,
    Transforms,
    Unit,
)
from van_dense.core.counting import counted

Sides = tuple[Positive, Positive]
Factor = Annotated[float, Field(gt=0.0)]
Range = tuple[Factor, Factor]
Channel = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Channel, Channel, Channel]


class MaskSplit(Section):
    """One part of a data set of image and mask pairs."""

    images: PathText  # folder of the images
    masks: PathText  # folder of the label maps, one for each image


class ImageMaskData(Data):
    """Two folders, of images and of masks; files belong together by ``{key}``.

    In a pattern ``{key}`` is any path below the folder and ``*`` any part of a name, so Cityscapes
    is ``{key}_leftImg8bit.png`` and ``{key}_gtFine_labelIds.png``.
    """

    train: MaskSplit  # training part
    val: MaskSplit  # validation part
    image_pattern: str = "{key}.*"  # below the folder of the images
    mask_pattern: str = "{key}.*"  # below the folder of the masks

    def files(self) -> dict[str, str]:
        """The four folders."""
        return self.part_files(train=self.train, val=self.val)


class PhotoMetric(Section):
    """Random colour, each change with probability 0.5 (PhotoMetricDistortion of mmseg and SSD)."""

    brightness: Annotated[int, Field(ge=0, le=255)] = 32  # added at most, in grey levels
    contrast: Range = (0.5, 1.5)  # factor
    saturation: Range = (0.5, 1.5)  # factor
    hue: Annotated[int, Field(ge=0, le=90)] = 18  # added at most, in units of 2 degrees


class SemanticTransforms(Transforms):
    """Geometry and colour of images with label maps."""

    scale: Sides = (2048, 512)  # training: the image is brought into these sides, long and short,
    ratio: Range = (0.5, 2.0)  # times a factor sampled from here
    crop: Sides = (512, 512)  # height and width of the training crop
    cat_max_ratio: Unit = 0.75  # a crop is sampled again while one class covers more of it
    flip: Unit = 0.5  # probability of a horizontal flip
    photometric: PhotoMetric | None = PhotoMetric()  # colour changes; none = colours stay
    test_scale: Sides | None = (2048, 512)  # the image is brought into these; none = its own size
    # Then it is enlarged until both sides are multiples of this; not where eval.inference slides,
    # and scales other than 1 are enlarged to multiples of eval.inference.multiple at least.
    test_multiple: Positive = 32


class SemanticData(ImageMaskData):
    """Label maps, and what their values mean."""

    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=255)]  # names in order
    # Values of the files, one line for each range: "0 -> ignore", "1..150 -> 0..149", or colours,
    # "#804080 -> 0". A value that no line names is an error; there is no implicit shift.
    label_map: Annotated[tuple[str, ...], Field(min_length=1)]
    colors: tuple[Color, ...] | None = None  # RGB of the classes in pictures; none = chosen
    transforms: SemanticTransforms = SemanticTransforms()

    @model_validator(mode="after")
    def _colors_for_all(self) -> SemanticData:
        if self.colors is not None and len(self.colors) != len(self.classes):
            counts = (
                f"{counted(len(self.colors), 'entry')} for {counted(len(self.classes), 'class')}"
            )
            raise ValueError(f"data.colors has {counts}")
        if len(set(self.classes)) != len(self.classes):
            twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
            raise ValueError(f"data.classes: {twice} appear twice; every class needs its own name")
        return self


class SaliencyTransforms(Transforms):
    """Geometry of images with saliency masks."""

    size: Sides = (384, 384)  # height and width that every image is warped to
    border_crop: Annotated[int, Field(ge=0)] = 12  # training: pixels cut from both ends at most
    flip: Unit = 0.5  # probability of a horizontal flip
    vertical_flip: Unit = 0.0  # probability of a vertical flip (the code of EDN flips so)


class SaliencyData(ImageMaskData):
    """Masks of salient objects, white on black."""

    transforms: SaliencyTransforms = SaliencyTransforms()


class SemanticFPN(Section):
    """Semantic FPN (Panoptic Feature Pyramid Networks, CVPR 2019), Table 12."""

    name: Literal["semantic_fpn"]
    channels: Positive = 256  # of the pyramid
    head_channels: Positive = 128  # of the convolutions that bring every level to stride 4
    dropout: Unit = 0.1  # of whole channels, before the classifier


class UperNet(Section):
    """UperNet (Unified Perceptual Parsing, ECCV 2018), Tables 12 and 13."""

    name: Literal["upernet"]
    channels: Positive = 512  # of every level
    pool_scales: tuple[Positive, ...] = (1, 2, 3, 6)  # sides of the maps that are pooled
    dropout: Unit = 0.1  # of whole channels, before the classifier


class LightHam(Section):
    """Light-Ham (arXiv 2109.04553), the decoder of SegNeXt; logits at stride 8 from c3, c4, c5."""

    name: Literal["light_ham"]
    channels: Positive = 256  # before the classifier
    ham_channels: Positive = 256  # of the features that are factorised
    rank: Positive = 16  # bases of the factorisation; no weight shows it, checkpoints know it
    train_steps: Positive = 6  # updates of the factors in training
    eval_steps: Positive = 7  # updates of the factors in evaluation
    dropout: Unit = 0.1  # of whole channels, before the classifier


# fmt: off
SmpName = Literal[
    "smp/Unet", "smp/UnetPlusPlus", "smp/MAnet", "smp/Linknet", "smp/FPN", "smp/PSPNet",
    "smp/DeepLabV3", "smp/DeepLabV3Plus", "smp/PAN", "smp/UPerNet", "smp/Segformer", "smp/DPT",
]
# fmt: on


class SmpDecoder(Section):
    """A decoder of segmentation-models-pytorch."""

    name: SmpName
    # Arguments of the smp model.
    options: dict[str, bool | int | float | str | list[int]] = Field(default_factory=dict)


Decoder = SemanticFPN | UperNet | LightHam | SmpDecoder


class Auxiliary(Section):
    """FCN head on the third backbone stage, in training only (UperNet recipe)."""

    channels: Positive = 256  # of its one convolution
    dropout: Unit = 0.1  # of whole channels, before the classifier
    weight: Annotated[float, Field(ge=0.0)] = 0.4  # of its losses


class SemanticLoss(Section):
    """One term of the loss."""

    name: Literal["cross_entropy", "ohem", "dice", "focal", "lovasz", "tversky"]
    weight: Annotated[float, Field(ge=0.0)] = 1.0  # of this term
    # cross_entropy and ohem: one for each class.
    class_weights: tuple[Annotated[float, Field(ge=0.0)], ...] | None = None
    ohem_threshold: Unit = 0.7  # ohem: pixels whose class has a lower probability count
    ohem_min_kept: Positive = 100_000  # ohem: and at least this many of each image

    @model_validator(mode="after")
    def _weights_have_a_use(self) -> SemanticLoss:
        if self.class_weights is not None and self.name not in ("cross_entropy", "ohem"):
            raise ValueError(f"class_weights work with cross_entropy and ohem, not {self.name}")
        return self


class SemanticModel(Section):
    """Backbone, decoder and losses."""

    backbone: Backbone  # required
    decoder: Annotated[Decoder, Field(discriminator="name")]
    auxiliary: Auxiliary | None = None  # second head, in training; none = off
    losses: Annotated[tuple[SemanticLoss, ...], Field(min_length=1)] = (
        SemanticLoss(name="cross_entropy"),
    )

    @property
    def title(self) -> str:
        """For the plan."""
        return self.decoder.name


class SaliencyModel(Section):
    """EDN ("EDN: Salient Object Detection via Extremely-Downsampled Network", TIP 2022)."""

    backbone: Backbone  # required
    decoder: Literal["edn"] = "edn"  # the only decoder so far

    @property
    def title(self) -> str:
        """For the plan."""
        return self.decoder


class Inference(Section):
    """How a label map is predicted; several scales or a flip average the probabilities."""

    mode: Literal["whole", "slide"] = "whole"  # the image at once, or windows that overlap
    crop: Sides = (512, 512)  # slide: height and width of a window
    stride: Sides = (341, 341)  # slide: steps between windows, at most the window
    scales: Annotated[tuple[Factor, ...], Field(min_length=1)] = (1.0,)  # of the test image
    flip: bool = False  # and each of them mirrored
    # whole: the normalised image is padded with zeros until both sides are multiples of this; 1 =
    # as it is, as mmseg tests most networks. Images go through the network one by one unless 32.
    multiple: Positive = 32

    @model_validator(mode="after")
    def _windows_cover_the_image(self) -> Inference:
        if any(step > side for step, side in zip(self.stride, self.crop, strict=True)):
            raise ValueError(f"stride {self.stride} leaves gaps between windows of {self.crop}")
        if any(side % 32 for side in self.crop):
            raise ValueError(f"the sides of a window must be multiples of 32, got {self.crop}")
        return self


class SemanticEval(Eval):
    """Evaluation of label maps; best_metric: none = semantic/mIoU."""

    inference: Inference = Inference()  # windows, scales and flips
    save_predictions: bool = False  # write every label map as palette PNG


class SaliencyEval(Eval):
    """Evaluation of saliency maps; best_metric: none = pysod/MAE."""

    save_predictions: bool = False  # write every map as grey PNG


class SemanticConfig(Section):
    """A complete semantic segmentation experiment."""

    task: Literal["semantic"]  # required
    seed: Annotated[int, Field(ge=0)] = 42  # of everything random
    data: SemanticData
    model: SemanticModel
    train: Train
    eval: SemanticEval = SemanticEval()


class SaliencyConfig(Section):
    """A complete saliency experiment."""

    task: Literal["saliency"]  # required
    seed: Annotated[int, Field(ge=0)] = 42  # of everything random
    data: SaliencyData
    model: SaliencyModel
    train: Train
    eval: SaliencyEval = SaliencyEval()
