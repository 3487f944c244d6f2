"""A tiny experiment of every kind of model, on the sample data set that the session writes once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import helpers.shallow_van  # noqa: F401  registers van_shallow
import pytest
import torch

from van_dense.config import Config, load_config
from van_dense.config.engine import has_detectron2
from van_dense.data.sample.sample_data import write_sample_data

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
# One project for each kind of model of each task, with what makes it tiny; a new task adds its own.
DETECTION = (
    "data.train.images={root}/train2017",
    "data.train.annotations={root}/annotations/instances_train2017.json",
    "data.val.images={root}/val2017",
    "data.val.annotations={root}/annotations/instances_val2017.json",
    "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 112}",
    "model.fpn.channels=16",
)
ANCHORS = ("model.anchor_sizes=[8, 16, 24, 36, 48]",)
SEMANTIC = (
    "data.train={images: {root}/ade/images/training, masks: {root}/ade/annotations/training}",
    "data.val={images: {root}/ade/images/validation, masks: {root}/ade/annotations/validation}",
    "data.transforms={scale: [112, 64], crop: [64, 64], test_scale: null}",
)
CASCADE = (
    *DETECTION,
    *ANCHORS,
    "model.rpn={train_post_nms: 200, test_post_nms: 100}",
    "model.box_head={convs: 1, conv_channels: 16, channels: 32, samples: 64, "
    "score_threshold: 0.001}",
    "model.mask_head={channels: 16, convs: 1}",
)
SALIENCY = tuple(
    f"data.{split}={{images: {{root}}/duts/DUTS-{name}/DUTS-{name}-Image, "
    f"masks: {{root}}/duts/DUTS-{name}/DUTS-{name}-Mask}}"
    for split, name in (("train", "TR"), ("val", "TE"))
)
POSE = (
    "data.train.images={root}/train2017",
    "data.train.annotations={root}/annotations/person_keypoints_train2017.json",
    "data.val.images={root}/val2017",
    "data.val.annotations={root}/annotations/person_keypoints_val2017.json",
    "data.transforms.size=[64, 64]",
    "model.channels=[16, 16]",
)
PANOPTIC = (
    *(
        f"data.{split}={{images: {{root}}/{split}2017, "
        f"annotations: {{root}}/annotations/panoptic_{split}2017.json}}"
        for split in ("train", "val")
    ),
    "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 112}",
    "eval.save_predictions=true",
)
CLASSIFICATION = (
    "data.train={root}/classes/train",
    "data.val={root}/classes/val",
    "data.transforms={size: 64, resize: 72}",
)
# A detector that just began gives no score above the usual threshold.
TINY = {
    "detection-maskrcnn": (
        "quickstart.yaml",
        (
            *DETECTION,
            *ANCHORS,
            "model.box_head.score_threshold=0.001",
            "model.engine=torchvision",
        ),
    ),
    "detection-retinanet": (
        "retinanet_van_b0.yaml",
        (*DETECTION, *ANCHORS, "model.head.score_threshold=0.001", "model.engine=torchvision"),
    ),
    "detection-maskrcnn-detectron2": (
        "quickstart.yaml",
        (
            *DETECTION,
            *ANCHORS,
            "model.box_head.score_threshold=0.001",
            "model.engine=detectron2",
        ),
    ),
    "detection-retinanet-detectron2": (
        "retinanet_van_b0.yaml",
        (*DETECTION, *ANCHORS, "model.head.score_threshold=0.001", "model.engine=detectron2"),
    ),
    "detection-sparsercnn": (
        "sparsercnn_van_b2_3x.yaml",
        (
            *DETECTION,
            "data.transforms.crop={short_sides: [48, 56], range: [32, 48]}",
            "model.proposals=20",
            "model.stages=2",
            "model.head={attention_heads: 2, feedforward: 32, dynamic_channels: 8}",
            "train.precision=fp32",
        ),
    ),
    "detection-atss": (
        "atss_van_b2_3x.yaml",
        (
            *DETECTION,
            *ANCHORS,
            "model.head.score_threshold=0.001",
        ),
    ),
    "detection-gfl": (
        "gfl_van_b2_3x.yaml",
        (
            *DETECTION,
            *ANCHORS,
            "model.head.score_threshold=0.001",
        ),
    ),
    "detection-cascade_maskrcnn": (
        "cascade_maskrcnn_van_b2_3x.yaml",
        (*CASCADE, "model.engine=torchvision"),
    ),
    "detection-cascade_maskrcnn-detectron2": (
        "cascade_maskrcnn_van_b2_3x.yaml",
        (*CASCADE, "model.engine=detectron2"),
    ),
    "semantic-semantic_fpn": (
        "semfpn_van_b0.yaml",
        (*SEMANTIC, "model.decoder={name: semantic_fpn, channels: 16, head_channels: 16}"),
    ),
    "semantic-upernet": (
        "upernet_van_b2.yaml",
        (
            *SEMANTIC,
            "model.decoder={name: upernet, channels: 16}",
            "model.auxiliary={channels: 16}",
        ),
    ),
    "semantic-light_ham": (
        "segnext_t.yaml",
        (
            *SEMANTIC,
            "model.backbone.name=mscan_t",
            "model.decoder={name: light_ham, channels: 16, ham_channels: 32, rank: 4}",
        ),
    ),
    "semantic-smp": ("semfpn_van_b0.yaml", (*SEMANTIC, "model.decoder={name: smp/Unet}")),
    "panoptic-mask2former": (
        "mask2former_van_b2.yaml",
        (
            *PANOPTIC,
            "model={queries: 8, channels: 32, attention_heads: 2}",
            "model.pixel_decoder={layers: 1, feedforward: 32}",
            "model.decoder={layers: 2, feedforward: 32}",
            "model.loss.points=64",
            "model.filter={score_threshold: 0.0, overlap_threshold: 0.0}",
        ),
    ),
    "panoptic-panoptic_fpn": (
        "panopticfpn_van_b2.yaml",
        (
            *PANOPTIC,
            *ANCHORS,
            "model.fpn.channels=16",
            "model.semantic_head.channels=32",
            "model.rpn={train_post_nms: 200, test_post_nms: 100}",
            "model.box_head={channels: 32, samples: 64, score_threshold: 0.001}",
            "model.mask_head={channels: 16, convs: 1}",
            "model.merge={score_threshold: 0.001, stuff_area: 16}",
        ),
    ),
    "pose-simple_baseline": ("pose_van_b0_256x192.yaml", POSE),
    "classification-van": ("classify_van_b0_in1k.yaml", CLASSIFICATION),
    "saliency-edn": (
        "saliency_van_b1.yaml",
        (
            *SALIENCY,
            "data.transforms={size: [64, 64], border_crop: 2}",
        ),
    ),
}
SHALLOW = ("model.backbone.name=van_shallow", "model.backbone.weights=null")
KINDS = {kind: (project, (*tiny, *SHALLOW)) for kind, (project, tiny) in TINY.items()}


# Plain ViTs of published names and widths, cut to two blocks.
PLAIN_VITS = (
    "vit_small_patch16_dinov3",
    "vit_base_patch14_dinov2",
    "eva02_base_patch14_224",
    "samvit_base_patch16",
    "vit_tiny_patch16_224",
)


def _on(name: str) -> tuple[str, ...]:
    options = "model.backbone.options={depth: 2}"
    return (f"model.backbone.name={name}", options, "model.backbone.drop_path=0.1")


BACKBONES = [
    pytest.param((), id="of_the_project"),
    *(pytest.param(_on(name), marks=pytest.mark.slow, id=name) for name in PLAIN_VITS),
]


@pytest.fixture(params=BACKBONES)
def on_backbone(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Overrides: the backbone of the project, or a plain ViT in the slow set."""
    return request.param


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "sample"
    parts = ("instances", "keypoints", "panoptic", "ade", "duts", "classes")
    write_sample_data(root, train_images=12, val_images=6, size=64, seed=3, parts=parts)
    return root


@pytest.fixture(scope="session", params=sorted(KINDS))
def make_config(request: pytest.FixtureRequest, sample_root: Path) -> Callable[..., Config]:
    project, tiny = KINDS[request.param]
    if "model.engine=detectron2" in tiny and not has_detectron2():
        pytest.skip("Detectron2 is not installed")

    def make(*overrides: str) -> Config:
        size = "{train_images: 12, val_images: 6, size: 64, seed: 3"
        return load_config(
            PROJECTS / project,
            [
                f"data.sample={size}, root: {sample_root}}}",
                *(override.replace("{root}", str(sample_root)) for override in tiny),
                "data.workers=0",
                "train.steps=4",
                "train.batch_size=2",
                "train.save_every=2",
                "train.log_every=1",
                "train.eval_every=null",
                "train.schedule.warmup_steps=0",
                "eval.pictures=2",
                "eval.oracle_images=4",
                *overrides,
            ],
            sample=True,
        )

    torch.set_num_threads(1)
    return make
