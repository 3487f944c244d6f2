"""Detectron2 as the second engine: its R-CNN and RetinaNet around our backbone and pyramid.

A model is first built by our own code, with its initial weights, and then taken over: matchers,
samplers, thresholds, anchors and weights are read off its parts. Parameters have the order and, in
``state_dict``, the names of our own model, so that a checkpoint, its optimiser state included,
does not know which engine wrote it.
Legend: B images, R regions, C classes; boxes xyxy pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.structures import Instances as DetectronInstances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from van_dense.core.attributes import attribute_set
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.integrations.checkpoints.detectron2_engine import rename
from van_dense.integrations.detectron2.parts import (
    PaddedRCNN,
    Pyramid,
    SeededRetinaNet,
    Targets,
    anchor_generator,
)
from van_dense.integrations.detectron2.rcnn import second_stage, seeded_rpn
from van_dense.models.class_rows import Rows, anchor_rows, second_stage_rows
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection import retinanet
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.detection.cascade import CascadeMaskRCNN
from van_dense.models.detection.fpn import norm_layer
from van_dense.models.detection.maskrcnn import MaskRCNN
from van_dense.models.detection.one_stage import OneStageDetector
from van_dense.models.detection.one_stage_head import PRE_NMS
from van_dense.models.detection.roi_heads import BOX_POOL, MASK_POOL
from van_dense.models.postprocess import check_finite, to_predictions

# Detectron2's names of losses and ours.
RPN_LOSS_NAMES = {"loss_rpn_cls": "rpn_class", "loss_rpn_loc": "rpn_box"}
ROI_LOSS_NAMES = {"loss_cls": "box_class", "loss_box_reg": "box_box", "loss_mask": "mask"}
ONE_STAGE_LOSS_NAMES = {"loss_cls": "class", "loss_box_reg": "box"}
# Our own preprocessing comes before.
_PIXELS = {"pixel_mean": (0.0, 0.0, 0.0), "pixel_std": (1.0, 1.0, 1.0)}


def on_detectron2(model: DenseModel) -> DenseModel:
    """The same model on Detectron2, with its backbone and pyramid and a copy of its head weights.

    A model that Detectron2 does not have is a ValueError.
    """
    if isinstance(model, (MaskRCNN, CascadeMaskRCNN)):
        return DetectronRCNN(model)
    if isinstance(model, OneStageDetector) and isinstance(model.head, retinanet.RetinaNetHead):
        return DetectronRetinaNet(model)
    other = f"{type(model).__name__} is not built on Detectron2"
    raise ValueError(f"model.engine: {other}; set model.engine=torchvision")


class DetectronModel(DenseModel):
    """What all models share: modes, event storage, names of the weights.

    Backbone, pyramid, preprocessing and head weights come from our ``model``; ``heads`` are the
    modules of Detectron2's ``detector`` with raw outputs.
    """

    detector: Any

    def __init__(self, model: Any, detector: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__(model.backbone, model.preprocess)
        self.fpn = model.fpn
        self.detector = detector
        self._heads = tuple(heads)  # a tuple, so that they are not registered twice
        for head in heads:
            head.register_forward_hook(_as_float32)
        self.register_state_dict_post_hook(_to_our_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_our_names)  # type: ignore[no-untyped-call]
        self.load_state_dict(model.state_dict())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by our names, as in ``state_dict``: weight decay is a matter of the name."""
        named: dict[str, Any] = dict(super().named_parameters(prefix, recurse, remove_duplicate))
        rename(named, f"{prefix}." if prefix else "", to_engine=False)
        yield from named.items()

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """Detectron2's losses by its own names."""
        targets = zip(without_crowd(batch.targets), batch.sizes, batch.seeds, strict=True)
        instances = [{"instances": Targets(one, size, seed=seed)} for one, size, seed in targets]
        # Detectron2 writes its statistics to a storage that must be there.
        with _mode(self.detector, training=True), EventStorage():
            losses: dict[str, Tensor] = self.detector(self._inputs(batch, instances))
        return losses

    def _inputs(self, batch: Batch, more: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
        images, more = self.preprocess(batch), more or [{}] * len(batch.sizes)
        inputs = zip(images, batch.sizes, more, strict=True)
        return [{"image": image, "size": size, **extra} for image, size, extra in inputs]

    @contextmanager
    def _finite(self, batch: Batch) -> Iterator[None]:
        """Raise where raw outputs are not finite: Detectron2 drops such boxes in silence."""
        outputs: list[Tensor] = []

        def keep(_: nn.Module, __: object, output: Any) -> None:
            outputs.extend(_tensors(output))

        with ExitStack() as stack:
            for head in self._heads:
                stack.callback(head.register_forward_hook(keep).remove)
            yield
        check_finite(outputs, batch.image_ids)


class DetectronRCNN(DetectronModel):
    """Detectron2's GeneralizedRCNN with the numbers and weights of ``model``.

    It has one second stage, as Mask R-CNN, or several in a row, as Cascade Mask R-CNN.
    """

    def __init__(self, model: MaskRCNN | CascadeMaskRCNN) -> None:
        channels = model.rpn.head.cls_logits.in_channels
        detector = PaddedRCNN(
            backbone=Pyramid(model.backbone, model.fpn, first_level=2, channels=channels),
            proposal_generator=seeded_rpn(model.rpn),
            roi_heads=second_stage(model, channels),
            **_PIXELS,
        )
        stages = _stages(detector)
        heads = [detector.proposal_generator.rpn_head, *(stage.box_predictor for stage in stages)]
        super().__init__(model, detector, heads)
        self.mask_threshold = model.mask_threshold
        is_cascade = isinstance(model, CascadeMaskRCNN)
        self._prefixes = [f"stage{n + 1}_" if is_cascade else "" for n in range(len(stages))]

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of the box and mask branches; see ``DenseModel``."""
        return second_stage_rows(self, info.class_names)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses as our own model names them: of the proposals and of every second stage."""
        losses = self._losses(batch)
        named = {ours: losses[theirs] for theirs, ours in RPN_LOSS_NAMES.items()}
        for stage in self._prefixes:
            named |= {stage + ours: losses[stage + name] for name, ours in ROI_LOSS_NAMES.items()}
        return named

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores, labels and RLE masks of each image."""
        with _mode(self.detector, training=False), self._finite(batch):
            found = self.detector.inference(self._inputs(batch), do_postprocess=False)
        found = [instances[instances.pred_boxes.nonempty()] for instances in found]
        masks = [instances.pred_masks[:, 0].float() for instances in found]
        check_finite(masks, batch.image_ids)
        detections = [_to_ours(instances) for instances in found]
        return to_predictions(batch, detections, masks, mask_threshold=self.mask_threshold)

    def flops_forward(self, size: Size) -> object:
        """Run on one zero image with 1000 box and 100 mask regions a stage, as ``get_flops``."""
        maps = list(self.detector.backbone(self.zeros(3, *size)).values())
        channels = maps[0].shape[1]
        outputs = [maps, self.detector.proposal_generator.rpn_head(maps)]
        boxes = self.zeros(channels, BOX_POOL, BOX_POOL).expand(1000, -1, -1, -1)
        masks = self.zeros(channels, MASK_POOL, MASK_POOL).expand(100, -1, -1, -1)
        for stage in _stages(self.detector):
            outputs.append(stage.box_predictor(stage.box_head(boxes)))
            outputs.append(stage.mask_head.layers(masks))
        return outputs


class DetectronRetinaNet(DetectronModel):
    """Detectron2's RetinaNet with the numbers and weights of ``model``."""

    def __init__(self, model: OneStageDetector) -> None:
        head, matcher = model.head, model.matcher
        assert isinstance(head, retinanet.RetinaNetHead)
        assert isinstance(matcher, retinanet.IoUMatcher)
        channels = head.class_logits.in_channels
        pyramid = Pyramid(model.backbone, model.fpn, first_level=3, channels=channels)
        shapes = pyramid.output_shape()
        has_norm = any(isinstance(module, nn.GroupNorm) for module in head.class_tower.modules())
        towers = RetinaNetHead(
            input_shape=list(shapes.values()),
            num_classes=head.num_classes,
            num_anchors=model.anchors.num_per_position,
            conv_dims=[channels] * len(head.class_tower),
            norm=norm_layer("group") if has_norm else "",
        )
        if has_norm:  # ours have a bias only without a norm, as mmdet's
            for layer in (*towers.cls_subnet, *towers.bbox_subnet):
                if isinstance(layer, nn.Conv2d):
                    layer.bias = None
        detector = SeededRetinaNet(
            backbone=pyramid,
            head=towers,
            head_in_features=list(shapes),
            anchor_generator=anchor_generator(model.anchors),
            box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
            matcher=matcher.matcher,
            filter=model.filter,
            num_classes=head.num_classes,
            test_score_thresh=model.filter.score_threshold,
            test_topk_candidates=PRE_NMS,
            test_nms_thresh=model.filter.nms_iou,
            max_detections_per_image=model.filter.max_detections,
            **_PIXELS,
        )
        super().__init__(model, detector, [towers])
        self._num_anchors = model.anchors.num_per_position

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of every anchor; see ``DenseModel``."""
        return anchor_rows(self, info.class_names, self._num_anchors)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses class (focal) and box (L1), each with weight 1."""
        losses = self._losses(batch)
        return {ours: losses[theirs] for theirs, ours in ONE_STAGE_LOSS_NAMES.items()}

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores and labels of each image."""
        with _mode(self.detector, training=False), self._finite(batch):
            found = self.detector(self._inputs(batch))
        return to_predictions(batch, [_to_ours(output["instances"]) for output in found])

    def flops_forward(self, size: Size) -> object:
        """Run backbone, pyramid and towers on one zero image."""
        return self.detector.head(list(self.detector.backbone(self.zeros(3, *size)).values()))


def _stages(detector: PaddedRCNN) -> list[Any]:
    """Detectron2's second stage, or those of a cascade in order."""
    return list(getattr(detector.roi_heads, "stages", [detector.roi_heads]))


def _mode(detector: nn.Module, *, training: bool) -> AbstractContextManager[None]:
    """Switch between Detectron2's losses and detections, for a while.

    Backbone and pyramid are not among its modules, so their norms and drop path keep their mode,
    as the norms of a cascade's heads do.
    """
    switched = (module for module in detector.modules() if not isinstance(module, _BatchNorm))
    return attribute_set(switched, "training", training)


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


def _to_our_names(_: nn.Module, state: Any, prefix: str, *__: Any) -> None:
    rename(state, prefix, to_engine=False)


def _from_our_names(_: nn.Module, state: Any, prefix: str, *__: Any) -> None:
    rename(state, prefix, to_engine=True)
