"""Every key of a pose or classification config reaches what it is about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from van_dense.api import build_model, evaluate_weights
from van_dense.config import Config, load_config
from van_dense.data.readers.coco_json import coco_person
from van_dense.data.readers.detections import read_detections
from van_dense.data.readers.persons import PersonImages
from van_dense.data.transforms.classification import ClassTest
from van_dense.data.transforms.pose import PoseTest, PoseTrain
from van_dense.models.classifier import Regularisation
from van_dense.models.pose.heatmap import build_codec
from van_dense.models.pose.top_down import CropGeometry, PoseScoring
from van_dense.tasks import TASKS
from van_dense.tasks.build import load_weights

pose, classification = TASKS["pose"], TASKS["classification"]

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
HANDS = (
    "data.skeleton={keypoints: [wrist, thumb, little], flip_pairs: [], upper_body: [wrist], "
    "sigmas: [0.1, 0.2, 0.3], bones: [[wrist, thumb]], head: [wrist, thumb]}"
)


def config(project: str, *overrides: str) -> Config:
    return load_config(PROJECTS / f"{project}.yaml", overrides, sample=True)


def pose_config(*overrides: str) -> Config:
    return config("pose_van_b0_256x192", *overrides)


def class_config(*overrides: str) -> Config:
    return config("classify_van_b0_in1k", "data.num_classes=7", *overrides)


# ------------------------------------------------------------------------------------------ pose


def test_crops_for_training_are_made_as_configured():
    cfg = pose_config(
        "data.transforms={size: [64, 96], padding: 1.1, shift: 0.2, shift_prob: 0.4, flip: 0.6, "
        "half_body: 0.7, half_body_min_joints: 3, scale: 0.25, rotation: 20, rotation_prob: 0.8}"
    )
    assert pose.build_transform(cfg, train=True) == PoseTrain(
        (64, 96),
        padding=1.1,
        shift=0.2,
        shift_prob=0.4,
        flip=0.6,
        flip_order=[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
        half_body=0.7,
        half_body_min_joints=3,
        upper_body=list(range(11)),
        scale=0.25,
        rotation=20,
        rotation_prob=0.8,
    )
    assert pose.build_transform(cfg, train=False) == PoseTest()
    assert pose.largest_input(cfg) == pose.smallest_input(cfg) == (64, 96)


def test_the_pose_model_is_built_as_configured():
    model = build_model(
        pose_config(
            "model.channels=[8, 16]",
            "model.codec=udp",
            "model.sigma=3",
            "data.transforms={size: [64, 96], padding: 1.1}",
            "eval={joint_score: 0.3, nms: soft, nms_oks: 0.8}",
        )
    )
    assert model.head.final.in_channels == 16 and model.head.final.out_channels == 17
    assert model.codec == build_codec("udp", 3)
    assert model.crop == CropGeometry((64, 96), 1.1)
    assert model.scoring == PoseScoring(coco_person().sigmas, 0.3, "soft", 0.8)
    assert model.flip_order == coco_person().flip_order()
    assert build_model(pose_config("eval.flip=false")).flip_order is None


def test_a_described_skeleton_reaches_info_model_and_transform():
    cfg = pose_config(HANDS)
    info = pose.dataset_info(cfg)
    assert info.keypoint_names == ("wrist", "thumb", "little")
    assert (info.skeleton, info.head) == ((("wrist", "thumb"),), ("wrist", "thumb"))
    model = build_model(cfg)
    assert model.head.final.out_channels == 3 and model.scoring.sigmas == (0.1, 0.2, 0.3)
    transform = pose.build_transform(cfg, train=True)
    assert (transform.flip_order, transform.upper_body) == ([0, 1, 2], [0])


def test_nobody_flips_without_knowing_what_swaps():
    unknown = HANDS.replace("flip_pairs: [], ", "")
    with pytest.raises(ValueError, match="which keypoints swap under a flip"):
        pose.build_transform(pose_config(unknown), train=True)
    with pytest.raises(ValueError, match="which keypoints swap under a flip"):
        build_model(pose_config(unknown))
    still = pose_config(unknown, "data.transforms.flip=0", "eval.flip=false")
    assert pose.build_transform(still, train=True).flip_order is None
    assert build_model(still).flip_order is None


def test_half_bodies_need_an_upper_body():
    with pytest.raises(ValueError, match=r"data\.skeleton names no upper_body"):
        pose_config(HANDS.replace("upper_body: [wrist], ", ""))


def test_a_file_with_other_joints_than_the_config_is_refused(tmp_path):
    image = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
    posed = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8], "keypoints": [1, 1, 2] * 2}
    paws = {"id": 1, "name": "cat", "keypoints": ["left_paw", "right_paw"]}
    data = {"images": [image], "annotations": [posed], "categories": [paws]}
    (tmp_path / "cats.json").write_text(json.dumps(data))
    part = f"data.train={{images: {tmp_path}, annotations: {tmp_path}/cats.json}}"
    with pytest.raises(ValueError, match=r"cats\.json: .*left_paw.*describe those of the file"):
        pose.build_dataset(pose_config(part), "train")
    described = "data.skeleton={keypoints: [left_paw, right_paw], upper_body: [left_paw]}"
    assert len(pose.build_dataset(pose_config(part, described), "train")) == 1


def test_detections_become_the_proposals_of_the_validation_part(tmp_path):
    root = tmp_path / "s"
    overrides = [
        f"data.sample={{root: {root}, train_images: 4, val_images: 3, size: 64, seed: 0}}",
        *(
            f"data.{part}={{images: {root}/{part}2017, annotations: "
            f"{root}/annotations/person_keypoints_{part}2017.json}}"
            for part in ("train", "val")
        ),
    ]
    cfg = pose_config(*overrides)
    pose.prepare_data(cfg)
    annotated = pose.build_dataset(cfg, "val")
    assert isinstance(annotated, PersonImages)
    entries = [
        f'{{"image_id": {annotated.image_id(0)}, "category_id": 1, "bbox": [1, 2, 3, 4], '
        f'"score": {score}}}'
        for score in (0.9, 0.2)
    ]
    (tmp_path / "found.json").write_text(f"[{', '.join(entries)}]")
    given = [f"data.detections={tmp_path}/found.json", "data.min_detection_score=0.5"]
    dataset = pose.build_dataset(pose_config(*overrides, *given), "val")
    expected = read_detections(tmp_path / "found.json", annotated, min_score=0.5)
    assert dataset.proposals(0).scores.tolist() == expected[annotated.image_id(0)].scores.tolist()
    assert len(dataset.proposals(0)) == 1 and len(dataset.proposals(1)) == 0
    assert len(pose.build_dataset(pose_config(*overrides, "data.max_images=1"), "val")) == 1


def test_pckh_chooses_the_best_checkpoint_only_where_there_is_a_head():
    wanted = "eval.best_metric=pck/PCKh@0.5"
    assert pose.best_metric(pose_config(wanted)) == "pck/PCKh@0.5"
    headless = HANDS.replace(", head: [wrist, thumb]", "")
    with pytest.raises(ValueError, match=r"PCKh needs data\.skeleton\.head"):
        pose.best_metric(pose_config(wanted, headless))
    assert pose.best_metric(pose_config(headless)) == "keypoints/AP"


# -------------------------------------------------------------------------------- classification


def test_the_classifier_is_built_as_configured():
    model = build_model(
        class_config(
            "model.backbone.mean=[0.1, 0.2, 0.3]",
            "model.backbone.std=[0.4, 0.5, 0.6]",
            "model.regularisation={smoothing: 0.2, mixup: 0.3, cutmix: 0.4, switch_prob: 0.6, "
            "erasing: 0.7, erasing_mode: const}",
        )
    )
    assert model.regularisation == Regularisation(0.2, 0.3, 0.4, 0.6, 0.7, "const")
    assert model.backbone.body.num_classes == 7
    assert (model.preprocess.mean.flatten() / 255).tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert (model.preprocess.std.flatten() / 255).tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_evaluation_resizes_as_timm_does_or_as_configured():
    assert classification.build_transform(
        class_config("data.transforms.resize=null", "data.transforms.size=224"), train=False
    ) == ClassTest(
        224, resize=248, mode="shorter", interpolation="bicubic"
    )  # 224 / 0.9, rounded down
    squash = "data.transforms={size: 64, resize: 80, resize_mode: squash, interpolation: bilinear}"
    assert classification.build_transform(class_config(squash), train=False) == ClassTest(
        64, resize=80, mode="squash", interpolation="bilinear"
    )


def test_training_images_are_made_as_configured():
    made = classification.build_transform(
        class_config(
            "data.transforms={size: 64, resize: 80, scale: [0.5, 0.9], ratio: [0.8, 1.2], "
            "train_interpolation: bicubic, flip: 0.1, auto_augment: rand-m3, color_jitter: 0.3}",
            "model.backbone.mean=[0.1, 0.2, 0.3]",
        ),
        train=True,
    )
    assert (made.size, made.crop, made.scale, made.ratio) == (
        64,
        "random_resized",
        (0.5, 0.9),
        (0.8, 1.2),
    )
    assert (made.interpolation, made.flip) == ("bicubic", 0.1)
    assert (made.auto_augment, made.color_jitter, made.fill) == ("rand-m3", 0.3, (0.1, 0.2, 0.3))
    random = classification.build_transform(
        class_config("data.transforms.train_crop=random"), train=True
    )
    assert random.crop == "random" and random.resizing == ClassTest(
        96, resize=112, mode="shorter", interpolation="bicubic"
    )


def test_folders_of_training_name_the_classes_of_both_parts(tmp_path):
    root = tmp_path / "s"
    cfg = class_config(
        f"data.sample={{root: {root}, train_images: 16, val_images: 3, size: 64, seed: 0}}",
        f"data.train={root}/classes/train",
        f"data.val={root}/classes/val",
        "data.num_classes=null",
    )
    classification.prepare_data(cfg)
    train, val = (classification.build_dataset(cfg, part) for part in ("train", "val"))
    assert train.info.class_names == val.info.class_names and train.info.num_classes == 8
    wrong = cfg.model_copy(update={"data": cfg.data.model_copy(update={"num_classes": 10})})
    with pytest.raises(ValueError, match=r"8 classes, but data\.num_classes is 10"):
        classification.build_dataset(wrong, "train")
    with pytest.raises(ValueError, match=r"set data\.num_classes"):
        classification.dataset_info(cfg)


@pytest.fixture
def photos(tmp_path) -> list[str]:
    """Overrides for two classes of one image each."""
    for name, grey in (("dark", 20), ("light", 230)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), (grey,) * 3).save(tmp_path / "photos" / name / "a.png")
    folder = f"{tmp_path}/photos"
    data = [f"data.train={folder}", f"data.val={folder}", "data.sample=null", "data.workers=0"]
    return [*data, "data.num_classes=2", "data.transforms={size: 32, resize: 32}"]


def test_weights_are_evaluated_without_a_run(photos, tmp_path, caplog):
    cfg = load_config(PROJECTS / "classify_van_b0_in1k.yaml", photos)
    torch.manual_seed(0)
    body = build_model(cfg).backbone.body
    with torch.no_grad():
        body.head.weight.zero_()
        body.head.bias.copy_(torch.tensor([0.0, 9.0]))  # everything is light
    torch.save(body.state_dict(), tmp_path / "van.pth")
    given = f"model.backbone.weights={tmp_path}/van.pth"
    cfg = load_config(PROJECTS / "classify_van_b0_in1k.yaml", [*photos, given])
    metrics = evaluate_weights(cfg, output=tmp_path / "out")
    assert metrics["classification/top1"] == 0.5
    assert (tmp_path / "out/predictions.csv").read_text().count("light") >= 3


def test_weights_without_the_classifier_are_not_evaluated(photos, tmp_path):
    cfg = load_config(PROJECTS / "classify_van_b0_in1k.yaml", photos)
    torch.save(build_model(class_config()).backbone.body.state_dict(), tmp_path / "van.pth")
    given = f"model.backbone.weights={tmp_path}/van.pth"  # of seven classes
    other = load_config(PROJECTS / "classify_van_b0_in1k.yaml", [*photos, given])
    with pytest.raises(ValueError, match=r"do not fill the classifier of 2 classes: head\.weight"):
        evaluate_weights(other, output=tmp_path / "out")
    with pytest.raises(ValueError, match=r"names model\.backbone\.weights"):
        evaluate_weights(cfg, output=tmp_path / "out")
    with pytest.raises(ValueError, match="only a classification project"):
        evaluate_weights(pose_config(given), output=tmp_path / "out")


def test_a_run_is_a_source_of_weights_best_checkpoint_first(tmp_path):
    cfg = class_config(f"model.backbone.weights={tmp_path}")
    detector = load_config(
        PROJECTS / "retinanet_van_b0.yaml", [f"model.backbone.weights={tmp_path}"], sample=False
    )
    for name in ("step_00000005.pt", "step_00000100.pt", "best.pt"):
        trained = build_model(cfg)
        checkpoint = {"format": 1, "step": 5, "model": trained.state_dict(), "ema": None}
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        torch.save(checkpoint, tmp_path / "checkpoints" / name)
        expected = trained.backbone.body.block4[1].mlp.fc1.weight
        for model, config_of in ((build_model(cfg), cfg), (build_model(detector), detector)):
            load_weights(model, config_of)
            assert torch.equal(model.backbone.body.block4[1].mlp.fc1.weight, expected)
