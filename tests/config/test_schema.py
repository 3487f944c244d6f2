"""The schema: what is required, what excludes what, and what is out of range."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from van_dense.config import ConfigError, load_config
from van_dense.config.detection import DetectionConfig, DetectionEval, MaskRCNN, RetinaNet
from van_dense.config.detection_data import DetectionData
from van_dense.config.files import missing_data
from van_dense.config.schema import Backbone, Section, Train

SPLIT = {"images": "a", "annotations": "a.json"}
DATA = {"train": SPLIT, "val": SPLIT}


def detection(**model: Any) -> DetectionConfig:
    return DetectionConfig.model_validate(
        {"task": "detection", "data": DATA, "model": model, "train": {"epochs": 1}}
    )


def sections(model: type[BaseModel] = Section) -> list[type[BaseModel]]:
    return [inner for child in model.__subclasses__() for inner in (child, *sections(child))]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_section_is_frozen_refuses_unknown_keys_and_has_a_docstring(
    section: type[BaseModel],
) -> None:
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["frozen"]
    assert section.__doc__


@pytest.mark.parametrize("kind, section", [("maskrcnn", MaskRCNN), ("retinanet", RetinaNet)])
def test_the_kind_of_a_model_chooses_its_section(kind: str, section: type[BaseModel]) -> None:
    assert isinstance(detection(kind=kind, backbone={"name": "van_b0"}).model, section)


def test_a_key_of_one_kind_is_unknown_in_the_other() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        detection(kind="retinanet", backbone={"name": "van_b0"}, rpn={})


@pytest.mark.parametrize("length", [{}, {"epochs": 1, "steps": 1}])
def test_a_run_has_exactly_one_length(length: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=r"exactly one of train\.epochs .* and train\.steps"):
        Train(**length)


def test_coco_data_need_both_parts() -> None:
    with pytest.raises(ValidationError, match=r"data\.train and data\.val"):
        DetectionData.model_validate({"train": SPLIT})


def test_yolo_data_need_only_their_folder() -> None:
    with pytest.raises(ValidationError, match=r"data\.yolo_root"):
        DetectionData(format="yolo")
    assert DetectionData(format="yolo", yolo_root="x").train is None


def test_voc_and_labelme_need_their_folders() -> None:
    with pytest.raises(ValidationError, match=r"data\.voc\.root"):
        DetectionData(format="voc")
    with pytest.raises(ValidationError, match=r"data\.labelme\.train and data\.labelme\.val"):
        DetectionData(format="labelme")
    voc = DetectionData.model_validate({"format": "voc", "voc": {"root": "x"}})
    assert voc.files() == {"data.voc.root": "x"}
    folders = {"train": "a", "val": "b"}
    labelme = DetectionData.model_validate({"format": "labelme", "labelme": folders})
    assert labelme.files() == {"data.labelme.train": "a", "data.labelme.val": "b"}


@pytest.mark.parametrize(
    "wrong",
    [{"drop_path": 1.0}, {"drop_path": -0.1}, {"freeze_stages": 5}, {"norm_mode": "group"}],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Backbone.model_validate({"name": "van_b0", **wrong})


def test_backbone_options_keep_their_types() -> None:
    options = {"flag": True, "kernel": 7, "eps": 1e-5, "variant": "full"}
    backbone = Backbone.model_validate({"name": "van_b0", "options": options})
    assert backbone.options == options
    assert [type(value) for value in backbone.options.values()] == [bool, int, float, str]


def test_extra_transforms_are_named_and_keep_their_arguments() -> None:
    extra = [{"name": "Rotate", "limit": [-5, 15], "p": 0.5}, {"name": "GaussianBlur"}]
    data = DetectionData.model_validate({**DATA, "transforms": {"extra": extra}})
    assert data.model_dump(mode="json")["transforms"]["extra"] == extra
    for wrong in ({"limit": 5}, {"name": 3}, "Rotate", ["Rotate"]):
        with pytest.raises(ValidationError, match=r"transforms\.extra\.0"):
            DetectionData.model_validate({**DATA, "transforms": {"extra": [wrong]}})


def test_an_epsilon_of_van_is_none_of_other_backbones() -> None:
    other = "model.backbone.name=resnet50"
    assert load_config("maskrcnn_van_b2").model.backbone.norm_eps == 1e-5
    assert load_config("maskrcnn_van_b2", [other]).model.backbone.norm_eps is None
    with pytest.raises(ConfigError, match=r"norm_eps=0\.001: resnet50 keeps its own"):
        load_config("maskrcnn_van_b2", [other, "model.backbone.norm_eps=1e-3"])


def test_detections_that_are_not_there_may_be_left_out() -> None:
    """Poses of one's own, with a project of COCO: its detections are of other images."""
    own = [f"data.{part}.{key}=." for part in ("train", "val") for key in ("images", "annotations")]
    message = missing_data(load_config("pose_van_b0_256x192", own))
    assert message is not None and "data.detections=null takes the boxes" in message
    assert missing_data(load_config("pose_van_b0_256x192", [*own, "data.detections=null"])) is None


def test_federated_evaluation_has_one_backend_and_one_limit() -> None:
    assert DetectionEval(federated=True, max_detections=100).federated
    with pytest.raises(ValidationError, match=r"pycocotools cannot; set eval\.backend=hotcoco"):
        DetectionEval(federated=True, backend="pycocotools")
    with pytest.raises(ValidationError, match="boundary AP has COCO's rules; leave out"):
        DetectionEval(federated=True, boundary=True)
    with pytest.raises(ValidationError, match="max_detections 300 would not be used: federated"):
        DetectionEval(federated=True, max_detections=300)


def test_boundary_ap_is_of_models_with_masks() -> None:
    values = {"task": "detection", "data": DATA, "train": {"epochs": 1}, "eval": {"boundary": True}}
    model = {"kind": "maskrcnn", "backbone": {"name": "van_b0"}}
    assert DetectionConfig.model_validate({**values, "model": model}).eval.boundary
    with pytest.raises(ValidationError, match=r"model\.kind retinanet gives no masks"):
        DetectionConfig.model_validate({**values, "model": {**model, "kind": "retinanet"}})
