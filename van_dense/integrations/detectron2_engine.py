"""Detectron2 as the second engine: its Mask R-CNN and RetinaNet around our backbone and pyramid.

A model is first built by our own code, with its initial weights, and then taken over: matchers,
samplers, thresholds, anchors and weights are read off its parts. Parameters have the order and, in
``state_dict``, the names of our own model, so that a checkpoint, its optimiser state included,
does not know which engine wrote it.
Legend: B images, R regions, C classes; boxes xyxy pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import BufferList, DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
)
from detectron2.structures import Instances as DetectronInstances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from van_dense.integrations.detectron2_keys import rename
from van_dense.integrations.detectron2_parts import (
    PaddedRCNN,
    Pyramid,
    SeededRetinaNet,
    SeededROIHeads,
    SeededRPN,
    Targets,
)
from van_dense.models import maskrcnn, retinanet
from van_dense.models.anchors import Anchors, without_crowd
from van_dense.models.dense_detector import DenseDetector
from van_dense.models.dense_head import PRE_NMS
from van_dense.models.dense_model import DenseModel
from van_dense.models.fpn import norm_layer
from van_dense.models.postprocess import check_finite, to_predictions
from van_dense.models.roi_heads import BOX_CODER_WEIGHTS, BOX_POOL, MASK_POOL
from van_dense.structures import Batch, Instances, Prediction, Size

POOLED = ("p2", "p3", "p4", "p5")
LOSS_NAMES = {  # Detectron2's and ours
    "loss_rpn_cls": "rpn_class",
    "loss_rpn_loc": "rpn_box",
    "loss_cls": "box_class",
    "loss_box_reg": "box_box",
    "loss_mask": "mask",
}
DENSE_LOSS_NAMES = {"loss_cls": "class", "loss_box_reg": "box"}


def on_detectron2(model: DenseModel) -> DenseModel:
    """The same model on Detectron2, with its backbone and pyramid and a copy of its head weights.

    Raises:
        ValueError: When Detectron2 has no such model.
    """
    if isinstance(model, maskrcnn.MaskRCNN):
        return DetectronMaskRCNN(model)
    if isinstance(model, DenseDetector) and isinstance(model.head, retinanet.RetinaNetHead):
        return DetectronRetinaNet(model)
    raise ValueError(
        f"model.engine: {type(model).__name__} is not built on Detectron2; "
        "set model.engine=torchvision"
    )


class DetectronModel(DenseModel):
    """What both models share: modes, event storage, names of the weights.

    Args:
        model: Gives backbone, pyramid, preprocessing and head weights.
        detector: Detectron2's model.
        heads: Its modules with raw outputs.
    """

    detector: Any

    def __init__(self, model: Any, detector: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.preprocess = model.preprocess
        self.backbone = model.backbone
        self.fpn = model.fpn
        self.detector = detector
        self._heads = tuple(heads)  # a tuple, so that they are not registered twice
        for head in heads:
            head.register_forward_hook(_as_float32)
        self.register_state_dict_post_hook(_to_our_names)
        self.register_load_state_dict_pre_hook(_from_our_names)
        self.load_state_dict(model.state_dict())

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Detectron2's losses by its own names."""
        targets = without_crowd(batch.targets)
        given = [
            {"instances": Targets(target, size, seed=seed)}
            for target, size, seed in zip(targets, batch.sizes, batch.seeds, strict=True)
        ]
        # Detectron2 writes its statistics to a storage that must be there.
        with _mode(self.detector, training=True), EventStorage():
            losses: dict[str, Tensor] = self.detector(self._inputs(batch, given))
        return losses

    def _inputs(self, batch: Batch, more: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
        images = self.preprocess(batch)
        inputs = [{"image": i, "size": s} for i, s in zip(images, batch.sizes, strict=True)]
        return [{**x, **extra} for x, extra in zip(inputs, more or [{}] * len(inputs), strict=True)]

    @contextmanager
    def _finite(self, batch: Batch) -> Iterator[None]:
        """Raise where raw outputs are not finite: Detectron2 drops such boxes in silence."""
        outputs: list[Tensor] = []

        def keep(_: nn.Module, __: object, output: Any) -> None:
            outputs.extend(_tensors(output))

        handles = [head.register_forward_hook(keep) for head in self._heads]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        check_finite(outputs, batch.image_ids)


class DetectronMaskRCNN(DetectronModel):
    """Detectron2's GeneralizedRCNN with the numbers and weights of ``model``."""

    def __init__(self, model: maskrcnn.MaskRCNN) -> None:
        channels = model.rpn.head.cls_logits.in_channels
        detector = PaddedRCNN(
            backbone=Pyramid(model.backbone, model.fpn, first_level=2, channels=channels),
            proposal_generator=_rpn(model, channels),
            roi_heads=_roi_heads(model, channels),
            pixel_mean=(0.0, 0.0, 0.0),  # our own preprocessing comes before
            pixel_std=(1.0, 1.0, 1.0),
        )
        roi = detector.roi_heads
        super().__init__(model, detector, [detector.proposal_generator.rpn_head, roi.box_predictor])
        self.mask_threshold = model.mask_threshold

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses rpn_class, rpn_box, box_class, box_box and mask, each with weight 1."""
        losses = self._losses(batch)
        return {ours: losses[theirs] for theirs, ours in LOSS_NAMES.items()}

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores, labels and RLE masks of each image.

        Raises:
            ValueError: When the network gives non-finite values.
        """
        with _mode(self.detector, training=False), self._finite(batch):
            found = self.detector.inference(self._inputs(batch), do_postprocess=False)
        found = [instances[instances.pred_boxes.nonempty()] for instances in found]
        masks = [instances.pred_masks[:, 0].float() for instances in found]
        check_finite(masks, batch.image_ids)
        detections = [_to_ours(instances) for instances in found]
        return to_predictions(batch, detections, masks, mask_threshold=self.mask_threshold)

    def flops_forward(self, size: Size) -> None:
        """Run on one zero image with 1000 box and 100 mask regions, as mmdet's ``get_flops``."""
        device = next(self.parameters()).device
        maps = list(self.detector.backbone(torch.zeros(1, 3, *size, device=device)).values())
        channels, roi = maps[0].shape[1], self.detector.roi_heads
        self.detector.proposal_generator.rpn_head(maps)
        boxes = torch.zeros(1000, channels, BOX_POOL, BOX_POOL, device=device)
        roi.box_predictor(roi.box_head(boxes))
        roi.mask_head.layers(torch.zeros(100, channels, MASK_POOL, MASK_POOL, device=device))


class DetectronRetinaNet(DetectronModel):
    """Detectron2's RetinaNet with the numbers and weights of ``model``."""

    def __init__(self, model: DenseDetector) -> None:
        head, matcher = model.head, model.matcher
        assert isinstance(head, retinanet.RetinaNetHead)
        assert isinstance(matcher, retinanet.IoUMatcher)
        channels = head.class_logits.in_channels
        pyramid = Pyramid(model.backbone, model.fpn, first_level=3, channels=channels)
        shapes = pyramid.output_shape()
        norm, convs = _tower_norm(head.class_tower), len(head.class_tower)
        dense = RetinaNetHead(
            input_shape=list(shapes.values()),
            num_classes=head.num_classes,
            num_anchors=model.anchors.num_per_cell,
            conv_dims=[channels] * convs,
            norm=norm or "",
        )
        if norm is not None:  # ours have a bias only without a norm, as mmdet's
            for layer in (*dense.cls_subnet, *dense.bbox_subnet):
                if isinstance(layer, nn.Conv2d):
                    layer.bias = None
        detector = SeededRetinaNet(
            backbone=pyramid,
            head=dense,
            head_in_features=list(shapes),
            anchor_generator=_anchors(model.anchors),
            box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
            matcher=matcher.rule,
            rule=model.rule,
            num_classes=head.num_classes,
            test_score_thresh=model.rule.score_threshold,
            test_topk_candidates=PRE_NMS,
            test_nms_thresh=model.rule.nms_iou,
            max_detections_per_image=model.rule.max_detections,
            pixel_mean=(0.0, 0.0, 0.0),  # our own preprocessing comes before
            pixel_std=(1.0, 1.0, 1.0),
        )
        super().__init__(model, detector, [dense])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses class (focal) and box (L1), each with weight 1."""
        losses = self._losses(batch)
        return {ours: losses[theirs] for theirs, ours in DENSE_LOSS_NAMES.items()}

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores and labels of each image.

        Raises:
            ValueError: When the network gives non-finite values.
        """
        with _mode(self.detector, training=False), self._finite(batch):
            found = self.detector(self._inputs(batch))
        return to_predictions(batch, [_to_ours(output["instances"]) for output in found])

    def flops_forward(self, size: Size) -> None:
        """Run backbone, pyramid and towers on one zero image."""
        device = next(self.parameters()).device
        images = torch.zeros(1, 3, *size, device=device)
        self.detector.head(list(self.detector.backbone(images).values()))


def _rpn(model: maskrcnn.MaskRCNN, channels: int) -> SeededRPN:
    ours = model.rpn
    train, test = ours.train_filter, ours.test_filter
    return SeededRPN(
        in_features=[*POOLED, "p6"],
        head=StandardRPNHead(in_channels=channels, num_anchors=ours.anchors.num_per_cell),
        anchor_generator=_anchors(ours.anchors),
        matcher=ours.matcher,
        sampler=ours.sampler,
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        pre_nms_topk=(train.pre_nms, test.pre_nms),
        post_nms_topk=(train.post_nms, test.post_nms),
        nms_thresh=test.nms_iou,
    )


def _roi_heads(model: maskrcnn.MaskRCNN, channels: int) -> SeededROIHeads:
    box, mask = model.box, model.mask
    hidden = box.class_logits.in_features
    inner = mask.predictor.conv5_mask.out_channels
    return SeededROIHeads(
        num_classes=box.num_classes,
        matcher=box.matcher,
        sampler=box.sampler,
        box_in_features=list(POOLED),
        box_pooler=_pooler(BOX_POOL),
        box_head=FastRCNNConvFCHead(
            ShapeSpec(channels=channels, height=BOX_POOL, width=BOX_POOL),
            conv_dims=[],
            fc_dims=[hidden, hidden],
        ),
        box_predictor=FastRCNNOutputLayers(
            ShapeSpec(channels=hidden),
            box2box_transform=Box2BoxTransform(weights=BOX_CODER_WEIGHTS),
            num_classes=box.num_classes,
            test_score_thresh=box.rule.score_threshold,
            test_nms_thresh=box.rule.nms_iou,
            test_topk_per_image=box.rule.max_detections,
        ),
        mask_in_features=list(POOLED),
        mask_pooler=_pooler(MASK_POOL),
        mask_head=MaskRCNNConvUpsampleHead(
            ShapeSpec(channels=channels, height=MASK_POOL, width=MASK_POOL),
            num_classes=box.num_classes,
            conv_dims=[inner] * (len(mask.head) + 1),
        ),
    )


def _pooler(output: int) -> ROIPooler:
    return ROIPooler(
        output_size=output,
        scales=[1 / 4, 1 / 8, 1 / 16, 1 / 32],
        sampling_ratio=0,
        pooler_type="ROIAlignV2",
    )


def _anchors(ours: Anchors) -> DefaultAnchorGenerator:
    """Detectron2's grid of our anchors of a cell, in our order."""
    generator = DefaultAnchorGenerator(
        sizes=[[1.0]], aspect_ratios=[[1.0]], strides=list(ours.strides), offset=0.0
    )
    cells = [getattr(ours, f"cell_{level}").clone() for level in range(len(ours.strides))]
    generator.cell_anchors = BufferList(cells)
    return generator


def _tower_norm(tower: nn.Sequential) -> Any:
    """Maker of the norm of a tower of ours, or None."""
    has_norm = any(isinstance(module, nn.GroupNorm) for module in tower.modules())
    return norm_layer("group" if has_norm else "none")


@contextmanager
def _mode(detector: nn.Module, *, training: bool) -> Iterator[None]:
    """Switch what Detectron2 returns, for a while.

    Backbone and pyramid are not among its modules, so their norms and drop path keep their mode;
    Detectron2's own heads hold nothing that depends on it.
    """
    before = [(module, module.training) for module in detector.modules()]
    for module, _ in before:
        module.training = training
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _to_ours(found: DetectronInstances) -> Instances:
    return Instances(
        boxes=found.pred_boxes.tensor, labels=found.pred_classes, scores=found.scores.float()
    )


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in output for tensor in _tensors(part)]


def _as_float32(_: nn.Module, __: object, output: Any) -> Any:
    """Raw outputs leave autocast: scores and boxes are compared and suppressed in float32."""
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(_as_float32(_, __, part) for part in output)


def _to_our_names(_: nn.Module, state: MutableMapping[str, Tensor], prefix: str, *__: Any) -> None:
    rename(state, prefix, to_engine=False)


def _from_our_names(
    _: nn.Module, state: MutableMapping[str, Tensor], prefix: str, *__: Any
) -> None:
    rename(state, prefix, to_engine=True)
