"""What a detector's config makes of boxes, for the data doctor: sizes of images, and anchors."""

from dataclasses import replace
from functools import partial

from van_dense.config import detection as schema
from van_dense.config.detection_data import DetectionTransforms
from van_dense.config.panoptic import PanopticFPN
from van_dense.core.structures import Size
from van_dense.data.doctor.boxes import AnchorLevel, AnchorRule, BoxSetting, View
from van_dense.data.transforms.detection import fit_size
from van_dense.models.detection import one_stage, rcnn
from van_dense.models.detection.anchors import OCTAVE_SCALES, Anchors


def box_setting(t: DetectionTransforms, model: schema.AnyDetector | PanopticFPN) -> BoxSetting:
    """Views of test and training, and which boxes have an anchor."""
    test = partial(fit_size, short_side=t.test_short_side, max_long_side=t.max_long_side)
    views = _training_views(t)
    twin = next((view for view in views if view.name == f"train {t.test_short_side}"), None)
    if twin is None:
        views.append(View(f"test {t.test_short_side}", test, is_test=True))
    else:
        both = replace(twin, name=f"train, test {t.test_short_side}", is_test=True)
        views[views.index(twin)] = both
    remark = ""
    if t.crop is not None:
        remark = "random crops of training show some objects larger than this"
    return BoxSetting(views, _rule(model), remark)


def _training_views(t: DetectionTransforms) -> list[View]:
    """The smallest and the largest training size."""
    if (jitter := t.large_scale_jitter) is not None:
        return [
            View(
                f"train x{factor:g}",
                partial(_jittered, window=jitter.size, factor=factor),
                is_train=True,
            )
            for factor in dict.fromkeys(jitter.scale)
        ]
    return [
        View(
            f"train {side}", partial(fit_size, short_side=side, max_long_side=t.max_long_side), True
        )
        for side in sorted({min(t.short_sides), max(t.short_sides)})
    ]


def _jittered(size: Size, *, window: Size, factor: float) -> Size:
    scale = factor * min(new / old for new, old in zip(window, size, strict=True))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _rule(model: schema.AnyDetector | PanopticFPN) -> AnchorRule | None:
    if isinstance(model, schema.MaskRCNN | schema.CascadeMaskRCNN):
        rounded = isinstance(model, schema.MaskRCNN) and model.round_anchors
        iou = model.rpn.min_positive_iou
        anchors = Anchors(model.anchor_sizes, rcnn.STRIDES, rounded=rounded)
        meaning = f"IoU {iou:g} with an anchor (model.rpn.min_positive_iou)"
        return AnchorRule(_levels(anchors), iou, meaning, _MANY)
    if isinstance(model, schema.RetinaNet):
        iou, rounded = model.head.positive_iou, model.round_anchors
        anchors = Anchors(
            model.anchor_sizes, one_stage.STRIDES, scales=OCTAVE_SCALES, rounded=rounded
        )
        meaning = f"IoU {iou:g} with an anchor (model.head.positive_iou); below, the best one"
        return AnchorRule(_levels(anchors), iou, f"{meaning} alone learns a box", _MANY_WITH_ONE)
    if isinstance(model, schema.ATSS | schema.GFL):
        anchors = Anchors(model.anchor_sizes, one_stage.STRIDES, ratios=(1.0,), rounded=False)
        return AnchorRule(_levels(anchors), None, "an anchor centred in the box", _MANY)
    return None


# With an RPN such a box has no anchor at all. In RetinaNet its best one still learns it, and that
# is so for a tenth of COCO's boxes.
_MANY, _MANY_WITH_ONE = 0.05, 0.2  # fractions of boxes


def _levels(anchors: Anchors) -> list[AnchorLevel]:
    bases = [getattr(anchors, f"base_{level}") for level in range(len(anchors.strides))]
    return [
        AnchorLevel(stride, base.double().numpy())
        for stride, base in zip(anchors.strides, bases, strict=True)
    ]
