"""Every key of a panoptic config reaches what it is about; three questions are asked of one run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from van_dense.config import Config, ConfigError, load_config
from van_dense.core.segments import label_map, thing_instances
from van_dense.core.structures import Prediction, Segment, encode_masks
from van_dense.data.collate import collate
from van_dense.data.dataset import ReadError, notes_of
from van_dense.data.doctor.doctor import CocoPart, check_dataset
from van_dense.data.io.panoptic import read_ids
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.engine.device import make_accelerator
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.models.panoptic.panoptic_fpn import PanopticFPN
from van_dense.runs.data_doctor import measure_boxes
from van_dense.runs.evaluation import Evaluation
from van_dense.tasks import TASKS
from van_dense.tasks.panoptic.truth import ids_of, instances_of, maps_of

panoptic = TASKS["panoptic"]
PROJECTS = Path(__file__).resolve().parents[2] / "projects"
TINY = (
    "model.backbone.name=van_b0",
    "model={queries: 4, channels: 32, attention_heads: 2}",
    "model.pixel_decoder={layers: 1, feedforward: 16}",
    "model.decoder={layers: 2, feedforward: 16}",
)
ALL = "eval.types=[panoptic, instance, semantic]"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("panoptic") / "sample"
    options = {"train_images": 2, "val_images": 4, "size": 64, "seed": 5}
    write_sample_data(root, **options, parts=("instances", "panoptic"))
    return root


@pytest.fixture
def config(root: Path):
    def make(*overrides: str, project: str = "mask2former_van_b2") -> Config:
        return load_config(
            PROJECTS / f"{project}.yaml",
            [
                "data.sample=null",
                *(
                    f"data.{split}={{images: {root}/{split}2017, "
                    f"annotations: {root}/annotations/panoptic_{split}2017.json}}"
                    for split in ("train", "val")
                ),
                *(TINY if project.startswith("mask2former") else TINY[:1]),
                *overrides,
            ],
            sample=True,
        )

    return make


def perfect(dataset, index: int) -> Prediction:
    """The truth of an image as the answer to all three questions, crowds left out."""
    sample = dataset.raw(index)
    segments = [s for s in sample.segments if not s.get("crowd")]
    ids = np.where(np.isin(sample.panoptic, [s["id"] for s in segments]), sample.panoptic, 0)
    found = thing_instances(torch.from_numpy(ids), segments, dataset.info.is_thing)
    ones = torch.ones(len(found))
    return Prediction(
        sample.image_id,
        sample.size,
        replace(found, scores=ones, masks=encode_masks(found.masks), crowd=None),
        label_map(sample.panoptic, sample.segments),
        panoptic=ids,
        segments=segments,
    )


# --------------------------------------------------------------------------------------- model


def test_mask2former_is_built_as_configured(config):
    cfg = config(
        "model={queries: 7, checkpointing: true}",
        "model.loss={class_weight: 3, no_object: 0.2, mask: 4, dice: 6, points: 50}",
        "model.filter={score_threshold: 0.7, mask_threshold: 0.4, overlap_threshold: 0.6, "
        "max_instances: 9}",
        ALL,
    )
    model = panoptic.build_model(cfg, panoptic.build_dataset(cfg, "val").info)
    assert isinstance(model, Mask2Former)
    assert model.query_decoder.queries_features.weight.shape == (7, 32)
    assert len(model.query_decoder.decoder.layers) == 2
    assert type(model.query_decoder.decoder.layers[0]).__name__ == "Recomputed"
    loss = model.loss
    assert (loss.class_weight, loss.no_object, loss.mask, loss.dice) == (3, 0.2, 4, 6)
    assert (loss.points, loss.oversample, loss.importance) == (50, 3.0, 0.75)
    rules = model.filters
    assert (rules.score_threshold, rules.mask_threshold) == (0.7, 0.4)
    assert (rules.overlap_threshold, rules.max_instances) == (0.6, 9)
    assert model.types == ("panoptic", "instance", "semantic")


def test_panoptic_fpn_is_built_as_configured(config):
    cfg = config(
        "model.semantic_head={channels: 64, norm: batch, weight: 0.25}",
        "model.merge={score_threshold: 0.4, overlap_threshold: 0.3, stuff_area: 9}",
        "model.fpn.channels=32",
        project="panopticfpn_van_b2",
    )
    info = panoptic.build_dataset(cfg, "val").info
    model = panoptic.build_model(cfg, info)
    assert isinstance(model, PanopticFPN)
    assert model.semantic.conv_seg.in_channels == 64
    stuff = info.num_classes - sum(info.is_thing)
    assert model.semantic.conv_seg.out_channels == stuff + 1
    assert model.semantic_weight == 0.25
    rules = model.rules
    assert (rules.score_threshold, rules.overlap_threshold, rules.stuff_area) == (0.4, 0.3, 9)


def test_channels_that_cannot_be_split_are_refused(config):
    with pytest.raises(ConfigError, match="multiple of attention_heads 3"):
        config("model.attention_heads=3")


def test_only_panoptic_fpn_can_be_tiled(config):
    assert panoptic.tiling_refusal(config(project="panopticfpn_van_b2")) is None
    assert "whole image" in panoptic.tiling_refusal(config())


# ---------------------------------------------------------------------------------------- data


def test_a_window_of_the_jitter_is_the_size_of_every_training_image(config):
    cfg = config("data.transforms.large_scale_jitter={size: [96, 64]}")
    assert panoptic.largest_input(cfg) == panoptic.smallest_input(cfg) == (96, 64)
    assert panoptic.smallest_input(config()) == (0, 0)


def test_a_crowd_comes_back_as_void(config):
    cfg = config()
    sample = panoptic.build_dataset(cfg, "val").raw(0)
    first, *rest = sample.segments
    sample = replace(sample, segments=[Segment(**first | {"crowd": True}), *rest])
    info = panoptic.build_dataset(cfg, "val").info
    (found,) = panoptic.perfect_predictions(collate([sample]), info)
    assert first["id"] not in found.panoptic
    assert [s["id"] for s in found.segments] == [s["id"] for s in rest]


# ---------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("with_file", [False, True], ids=["things of the PNGs", "a file"])
def test_truth_is_a_perfect_answer_to_all_questions_of_one_run(config, root, with_file):
    extra = [f"data.val.instances={root}/annotations/instances_val2017.json"] if with_file else []
    cfg = config(ALL, "eval.boundary=true", *extra)
    dataset = panoptic.build_dataset(cfg, "val")
    evaluator = panoptic.evaluator_factory(dataset, cfg)()
    evaluator.update([perfect(dataset, index) for index in range(len(dataset))])
    metrics = evaluator.compute()
    assert metrics["panoptic/PQ"] == metrics["panoptic/boundary_PQ"] == 1.0
    assert metrics["semantic/mIoU"] == 1.0
    if with_file:  # its masks are hidden nowhere, those of the PNGs behind what lies on top
        assert 0.5 < metrics["segm/AP"] <= 1.0
    else:
        assert metrics["segm/AP"] == metrics["bbox/AP"] == 1.0
    assert set(metrics) == set(panoptic.measured(cfg))
    assert {"panoptic", "segm", "semantic"} <= evaluator.per_class().keys()


def test_instances_of_another_part_are_refused(config, root):
    cfg = config(ALL, f"data.val.instances={root}/annotations/instances_train2017.json")
    with pytest.raises(ValueError, match=r"lacks 4 images .* of the same part"):
        panoptic.evaluator_factory(panoptic.build_dataset(cfg, "val"), cfg)


def test_what_instances_lose_is_a_note_and_honours_the_quarantine(config, root, tmp_path):
    data = json.loads((root / "annotations/instances_val2017.json").read_text())
    broken, ignored = (annotation["id"] for annotation in data["annotations"][:2])
    data["annotations"][0]["category_id"] = 999
    file, listed = tmp_path / "instances.json", tmp_path / "quarantine.json"
    file.write_text(json.dumps(data))
    report = check_dataset([CocoPart("val", f"{root}/val2017", str(file), masks=True)])
    report.parts[0].note("error", "unwanted", "", annotation_id=ignored)
    quarantine = report.quarantine()
    assert {broken, ignored} <= quarantine.of(file).annotations
    quarantine.save(listed)
    for options, left in (
        ([], f"{file}: left out: 1 annotation"),
        ([f"data.quarantine={listed}"], f"{file}: quarantine leaves out 2 annotations"),
    ):
        cfg = config(ALL, f"data.val.instances={file}", *options)
        dataset = panoptic.build_dataset(cfg, "val")
        assert any(left in note for note in notes_of(dataset)), notes_of(dataset)
        evaluators = panoptic.evaluator_factory(dataset, cfg)().evaluators
        (truth,) = [e.ground_truth for e in evaluators if hasattr(e, "ground_truth")]
        assert len(truth["annotations"]) == len(data["annotations"]) - (2 if options else 1)
    assert not notes_of(panoptic.build_dataset(cfg, "train"))
    assert [part.source for part in panoptic.check_parts(cfg)][2:] == [str(file)]
    assert len(panoptic.check_parts(config(f"data.val.instances={file}"))) == 2  # not compared


def test_sizes_of_boxes_are_told_where_the_model_has_anchors(config, root):
    cfg = config(
        ALL,
        f"data.val.instances={root}/annotations/instances_val2017.json",
        project="panopticfpn_van_b2",
    )
    report = check_dataset(panoptic.check_parts(cfg))
    found = measure_boxes(cfg, report)
    assert set(found) == {"train", "val"}
    for statistics, part in zip(found.values(), report.parts, strict=False):
        assert len(statistics.table.boxes) == sum(part.objects.values()) > 0
        assert statistics.setting.rule is not None and part.tables
    assert panoptic.box_setting(config()) is None


def test_an_image_whose_map_cannot_be_read_is_left_out_of_the_instances(config, caplog):
    dataset = panoptic.build_dataset(config(), "val")
    first, *rest = ids_of(dataset)
    maps = maps_of(dataset)

    def broken(image_id):
        if image_id == first:
            raise ReadError("a.png: truncated")
        return maps(image_id)

    truth = instances_of([first, *rest], broken, dataset.info, None)
    assert [image["id"] for image in truth["images"]] == rest
    assert "left out of the evaluation: a.png: truncated" in caplog.text


def test_weights_of_other_code_bases_are_refused_in_words_for_panoptic_fpn(config):
    cfg = config(project="panopticfpn_van_b2")
    info = panoptic.build_dataset(cfg, "val").info
    model = panoptic.build_model(cfg, info)
    with pytest.raises(ValueError, match=r"Panoptic FPN .* model\.backbone\.weights"):
        panoptic.load_foreign(model, ForeignFile({}), cfg, info)


@pytest.mark.parametrize(
    ("types", "metric"),
    [
        ("[semantic, panoptic]", "panoptic/PQ"),
        ("[instance, semantic]", "segm/AP"),
        ("[semantic]", "semantic/mIoU"),
    ],
)
def test_the_best_checkpoint_is_that_of_pq_or_of_the_first_question(config, types, metric):
    assert panoptic.best_metric(config(f"eval.types={types}")) == metric


def test_boundary_metrics_exist_where_they_are_asked_for(config):
    metric = "eval.best_metric=panoptic/boundary_PQ"
    assert panoptic.best_metric(config(metric, "eval.boundary=true")) == "panoptic/boundary_PQ"
    with pytest.raises(ValueError, match="is not measured"):
        panoptic.best_metric(config(metric))


def test_predictions_are_written_under_the_names_of_the_data_set(config, tmp_path):
    cfg = config("eval.save_predictions=true")
    dataset = panoptic.build_dataset(cfg, "val")
    with panoptic.prediction_writer(cfg, dataset, tmp_path) as write:
        write(perfect(dataset, 0))
    (entry,) = json.loads((tmp_path / "predictions_panoptic.json").read_text())["annotations"]
    stem = Path(dataset.raw(0).path).stem
    assert (entry["image_id"], entry["file_name"]) == (dataset.image_id(0), f"{stem}.png")
    ids = read_ids(tmp_path / "predictions_panoptic" / f"{stem}.png")
    np.testing.assert_array_equal(ids, perfect(dataset, 0).panoptic)


def test_pngs_below_folders_keep_their_names(config, root, tmp_path):
    masks, file = tmp_path / "elsewhere" / "pngs", tmp_path / "names.json"
    data = json.loads((root / "annotations" / "panoptic_val2017.json").read_text())
    for record in data["annotations"]:
        old = root / "annotations" / "panoptic_val2017" / record["file_name"]
        record["file_name"] = f"deep/{record['file_name']}"
        (masks / "deep").mkdir(parents=True, exist_ok=True)
        (masks / record["file_name"]).write_bytes(old.read_bytes())
    file.write_text(json.dumps(data))
    relative = masks.parent / ".." / "elsewhere" / "pngs"
    cfg = config(
        f"data.val={{annotations: {file}, masks: {relative}}}", "eval.save_predictions=true"
    )
    dataset = panoptic.build_dataset(cfg, "val")
    with panoptic.prediction_writer(cfg, dataset, tmp_path) as write:
        write(perfect(dataset, 0))
    (entry,) = json.loads((tmp_path / "predictions_panoptic.json").read_text())["annotations"]
    assert entry["file_name"] == dataset.mask_name(0) and entry["file_name"].startswith("deep/")
    assert (tmp_path / "predictions_panoptic" / entry["file_name"]).is_file()


def test_nothing_is_written_unless_asked_for(config, tmp_path):
    cfg = config()
    with panoptic.prediction_writer(cfg, panoptic.build_dataset(cfg, "val"), tmp_path) as write:
        assert write is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "types", ["[panoptic]", "[instance]", "[semantic]", "[instance, semantic]", ALL[11:]]
)
@pytest.mark.parametrize("project", ["mask2former_van_b2", "panopticfpn_van_b2"])
def test_every_question_is_answered_measured_and_drawn(config, tmp_path, project, types):
    low = "model.filter={score_threshold: 0, overlap_threshold: 0}"
    few = "model.fpn.channels=16", "model.box_head={channels: 16}", "model.mask_head.channels=16"
    overrides = [low] if project.startswith("mask2former") else few
    cfg = config(f"eval.types={types}", "eval.pictures=2", *overrides, project=project)
    dataset = panoptic.build_dataset(cfg, "val")
    torch.manual_seed(0)
    model = panoptic.build_model(cfg, dataset.info)
    metrics = Evaluation(cfg, dataset, make_accelerator("fp32")).run(model, tmp_path)
    assert set(metrics) == set(panoptic.measured(cfg))
    assert (tmp_path / "pictures" / "overview.png").is_file()


def test_what_only_panoptic_maps_have_needs_that_question(config):
    for setting in ("boundary", "save_predictions"):
        with pytest.raises(ConfigError, match=f"{setting} is of panoptic maps"):
            config("eval.types=[semantic]", f"eval.{setting}=true")
    with pytest.raises(ConfigError, match="name each once"):
        config("eval.types=[semantic, semantic]")


def test_only_the_validation_part_has_instances_to_compare_with(config):
    with pytest.raises(ConfigError, match="instances"):
        config("data.train.instances=a.json")
