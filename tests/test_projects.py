"""Every project file loads, says what the paper says, and marks what the paper leaves open."""

import re
from pathlib import Path

import pytest
import yaml

from van_dense.config import ConfigError, load_config
from van_dense.config.load import load_raw
from van_dense.config.tasks import CONFIG_OF_TASK

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = sorted(
    set((ROOT / "projects").glob("*.yaml")) - set((ROOT / "projects").glob("*_tables.yaml"))
)
FRAGMENTS = sorted((ROOT / "configs").glob("*/*.yaml"))
DETECTORS = [p for p in PROJECTS if re.fullmatch(r"(maskrcnn|retinanet)_van_b\d", p.stem)]
OF_3X = [p for p in PROJECTS if p.stem.endswith("_van_b2_3x")]
TABLES = yaml.safe_load((ROOT / "projects/paper_tables.yaml").read_text())["tables"]

each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.stem)
each_detector = pytest.mark.parametrize("project", DETECTORS, ids=lambda path: path.stem)


@each_project
def test_every_project_is_valid(project: Path) -> None:
    assert load_config(project).task in CONFIG_OF_TASK


@each_project
def test_every_project_takes_overrides(project: Path) -> None:
    overrides = ["train.epochs=null", "train.steps=7", "train.optimizer.lr=1e-3"]
    train = load_config(project, overrides).train
    assert (train.steps, train.optimizer.lr) == (7, 1e-3)


@each_project
def test_every_project_runs_on_the_sample(project: Path) -> None:
    config = load_config(project, sample=True)
    assert config.data.sample is not None
    assert config.model.backbone.weights is None  # nothing is downloaded


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_fragments_are_never_runnable(fragment: Path) -> None:
    with pytest.raises(ConfigError, match="task: required"):
        load_config(fragment)


def test_there_is_a_project_for_each_row_of_tables_9_and_10() -> None:
    rows = [
        row["project"] for number in (9, 10) for row in TABLES[number]["rows"] if "project" in row
    ]
    assert rows == [f"{kind}_van_b{b}.yaml" for kind in ("retinanet", "maskrcnn") for b in range(4)]
    assert {path.name for path in DETECTORS} == set(rows)


@each_detector
def test_a_detector_is_what_its_name_says(project: Path) -> None:
    model = load_config(project).model
    kind, _, size = project.stem.split("_")
    assert (model.kind, model.backbone.name) == (kind, f"van_{size}")
    assert model.backbone.weights == f"van_{size}_in1k"
    assert model.backbone.drop_path == (0.3 if size == "b3" else 0.1)
    assert model.backbone.norm_eps == 1e-5


@each_detector
def test_detectors_follow_the_1x_recipe(project: Path) -> None:
    config = load_config(project)
    train, transforms = config.train, config.data.transforms
    assert (train.epochs, train.batch_size, train.clip_norm) == (12, 16, None)
    optimizer = train.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.base_batch) == ("adamw", 1e-4, 16)
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.999), 0.05)
    assert optimizer.no_decay == ("norm",)
    schedule = train.schedule
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (500, 0.001)
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (8, 11), 0.1)
    assert (transforms.short_sides, transforms.max_long_side, transforms.flip) == (
        (800,),
        1333,
        0.5,
    )


@pytest.mark.parametrize("project", [*DETECTORS, *OF_3X], ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "path",
    [
        "model.backbone.drop_path",
        "model.backbone.norm_mode",
        "model.backbone.norm_eps",
        "seed",
        "train.precision",
        "train.clip_norm",
        "train.ema_decay",
    ],
)
def test_values_the_paper_leaves_open_are_marked_where_they_are_set(
    project: Path, path: str
) -> None:
    lines = Path(load_raw(project).origin_of(path)).read_text().splitlines()
    key = path.rsplit(".", 1)[-1]
    (line,) = [line for line in lines if line.lstrip().startswith(f"{key}:")]
    assert "# not in paper" in line


def test_the_poolformer_preset_lies_over_a_project(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    preset = ROOT / "configs/_schedule/1x_poolformer.yaml"
    path.write_text(f"extends: [{ROOT / 'projects/maskrcnn_van_b2.yaml'}, {preset}]")
    optimizer = load_config(path).train.optimizer
    assert (optimizer.weight_decay, optimizer.no_decay, optimizer.lr) == (1e-4, (), 1e-4)


@pytest.mark.parametrize("name", ["retinanet_van_b2.yaml", "maskrcnn_van_b2.yaml"])
def test_the_1x_projects_hold_the_recipe_of_the_paper(name):
    """AdamW 1e-4, weight decay 0.05, batch 16, 12 epochs, 1333x800 (CVMJ 4.2, mmdet)."""
    config = load_config(ROOT / "projects" / name)
    train, transforms = config.train, config.data.transforms
    assert (train.epochs, train.batch_size) == (12, 16)
    optimizer = train.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 1e-4, 0.05)
    assert (optimizer.betas, optimizer.no_decay) == ((0.9, 0.999), ("norm",))
    schedule = train.schedule
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (8, 11), 0.1)
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (500, 0.001)
    assert (transforms.short_sides, transforms.max_long_side) == ((800,), 1333)
    assert (transforms.flip, config.data.size_divisor) == (0.5, 32)
    assert config.model.anchor_sizes == (32, 64, 128, 256, 512)
    if config.model.kind == "maskrcnn":
        rpn, box = config.model.rpn, config.model.box_head
        assert (rpn.positive_iou, rpn.negative_iou, rpn.min_positive_iou) == (0.7, 0.3, 0.3)
        assert (rpn.samples, rpn.positive_fraction, rpn.nms_iou) == (256, 0.5, 0.7)
        assert (rpn.train_pre_nms, rpn.train_post_nms) == (2000, 1000)
        assert (rpn.test_pre_nms, rpn.test_post_nms) == (1000, 1000)
        assert (box.positive_iou, box.samples, box.positive_fraction) == (0.5, 512, 0.25)
        assert (box.score_threshold, box.nms_iou, box.max_detections) == (0.05, 0.5, 100)
    else:
        head = config.model.head
        assert (head.convs, head.positive_iou, head.negative_iou) == (4, 0.5, 0.4)
        assert (head.score_threshold, head.nms_iou, head.max_detections) == (0.05, 0.5, 100)
