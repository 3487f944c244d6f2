"""Every task learns eight images by heart on a tiny plain ViT from random weights.

What its pyramid hands to the heads is enough for near-perfect results, and gradients reach all that
has to change for them.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from van_dense.config import Config
from van_dense.runs.training import train_run

pytestmark = pytest.mark.slow

VIT = (
    "model.backbone.name=vit_tiny_patch16_224",
    "model.backbone.options={depth: 3, embed_dim: 96, num_heads: 3}",
    "model.backbone.drop_path=0",
    "model.backbone.norm_mode=batch",
)
NO_CHANCE = (
    "data.max_images=8",
    "data.transforms.flip=0",
    "train.batch_size=4",
    "train.optimizer={name: adamw, lr: 2.0e-3, base_batch: 4, weight_decay: 0.01}",
    "train.schedule={name: cosine, warmup_steps: 10, min_factor: 0.02}",
    "train.clip_norm=5",
    "train.ema_decay=null",
    "train.save_every=1000",
    "train.log_every=20",
    "eval={pictures: 0, oracle_images: 0}",
)
BOXES = (
    "data.transforms={short_sides: [128], test_short_side: 128, max_long_side: 176}",
    "model.anchor_sizes=[16, 32, 48, 64, 96]",
    "model.fpn={channels: 64, norm: group}",
)
TWO_STAGES = (
    *BOXES,
    "data.transforms={short_sides: [96], test_short_side: 96, max_long_side: 128}",
    "model.anchor_sizes=[12, 24, 36, 48, 72]",
    "model.rpn={train_post_nms: 100, test_post_nms: 50}",
    "model.box_head={channels: 128, samples: 32, score_threshold: 0.05}",
    "model.mask_head={channels: 32, convs: 1}",
)
MAPS = (
    "data.transforms={scale: [128, 96], ratio: [1, 1], crop: [96, 128], photometric: null}",
    "data.transforms={cat_max_ratio: 1, test_scale: [128, 96]}",
)


class Overfit(NamedTuple):
    """How one kind of model learns its eight images."""

    steps: int
    least: dict[str, float]  # of what is measured on the same images
    settings: tuple[str, ...]


KINDS = {
    "detection-retinanet": Overfit(
        150,
        {"bbox/AP50": 0.95, "bbox/AP": 0.8},
        (*BOXES, "model.head={convs: 2, norm: group, score_threshold: 0.05}"),
    ),
    "detection-maskrcnn": Overfit(250, {"bbox/AP50": 0.95, "segm/AP50": 0.9}, TWO_STAGES),
    "semantic-semantic_fpn": Overfit(
        500,
        {"semantic/mIoU": 0.9},
        (*MAPS, "model.decoder={channels: 64, head_channels: 64, dropout: 0}"),
    ),
    "semantic-upernet": Overfit(
        600,
        {"semantic/mIoU": 0.9},
        (*MAPS, "model.decoder={channels: 64, dropout: 0}", "model.auxiliary={dropout: 0}"),
    ),
    "panoptic-panoptic_fpn": Overfit(
        250,
        {"panoptic/PQ": 0.75, "panoptic/RQ": 0.9},
        (*TWO_STAGES, "model.merge={score_threshold: 0.5, stuff_area: 64}"),
    ),
    "pose-simple_baseline": Overfit(
        300,
        {"keypoints/AP75": 0.99, "pck/PCKh@0.5": 0.99},
        (
            "data.transforms={size: [128, 96], shift_prob: 0, half_body: 0, scale: 0}",
            "data.transforms.rotation_prob=0",
            "model.channels=[64, 64, 64]",
        ),
    ),
    "saliency-edn": Overfit(
        200,
        {"pysod/Fmax": 0.95, "pysod/Sm": 0.9},
        ("data.transforms={size: [96, 96], border_crop: 0}",),
    ),
    "classification-van": Overfit(
        60,
        {"classification/top1": 1.0},
        (
            "data.transforms={scale: [1, 1], ratio: [1, 1], auto_augment: null}",
            "data.transforms={color_jitter: null, resize: 64}",
            "model.regularisation={mixup: 0, cutmix: 0, erasing: 0, smoothing: 0}",
        ),
    ),
}


def on_the_training_images(config: Config) -> list[str]:
    """Overrides that evaluate on the training part."""
    train = config.data.train
    if isinstance(train, str):
        return [f"data.val={train}"]
    return [f"data.val.{key}={value}" for key, value in train if value is not None]


@pytest.mark.parametrize(
    ("make_config", "overfit"), KINDS.items(), ids=list(KINDS), indirect=["make_config"]
)
def test_eight_images_are_learnt_by_heart(make_config, overfit, tmp_path):
    own = [*VIT, *NO_CHANCE, *overfit.settings, f"train.steps={overfit.steps}"]
    config = make_config(*own, *on_the_training_images(make_config()))
    found = train_run(config, tmp_path / "run").metrics
    assert {name: found[name] for name in overfit.least} == {
        name: pytest.approx(1.0, abs=1 - least) for name, least in overfit.least.items()
    }
