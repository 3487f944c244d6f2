"""The two-stage projects of Table 11 follow the 3x recipe and mark what the paper leaves open."""

from pathlib import Path

import pytest

from van_dense.config import load_config
from van_dense.config.load import load_raw

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("maskrcnn", "cascade_maskrcnn")
each_project = pytest.mark.parametrize(
    "project", [ROOT / f"projects/{kind}_van_b2_3x.yaml" for kind in KINDS], ids=KINDS
)


@each_project
def test_the_schedule_is_that_of_the_3x_files_of_swin(project: Path) -> None:
    config = load_config(project)
    train, optimizer, schedule = config.train, config.train.optimizer, config.train.schedule
    assert (train.epochs, train.batch_size, train.clip_norm) == (36, 16, None)
    assert train.precision == "fp16"
    assert (optimizer.name, optimizer.lr, optimizer.base_batch) == ("adamw", 1e-4, 16)
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.999), 0.05)
    assert optimizer.no_decay == ("norm",)
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (27, 33), 0.1)
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (500, 0.001)


@each_project
def test_training_images_have_many_scales_and_test_images_one(project: Path) -> None:
    transforms = load_config(project).data.transforms
    assert transforms.short_sides == tuple(range(480, 801, 32))
    assert (transforms.max_long_side, transforms.test_short_side, transforms.flip) == (
        1333,
        800,
        0.5,
    )


@each_project
def test_the_model_is_what_the_name_says(project: Path) -> None:
    model = load_config(project).model
    assert model.kind == project.stem.removesuffix("_van_b2_3x")
    assert (model.backbone.name, model.backbone.weights) == ("van_b2", "van_b2_in1k")
    assert (model.backbone.drop_path, model.backbone.norm_eps) == (0.2, 1e-5)


@each_project
def test_the_sample_runs_in_a_precision_that_every_machine_has(project: Path) -> None:
    assert load_config(project, sample=True).train.precision == "fp32"


@each_project
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
def test_values_the_paper_leaves_open_are_marked(project: Path, path: str) -> None:
    lines = Path(load_raw(project).origin_of(path)).read_text().splitlines()
    key = path.rsplit(".", 1)[-1]
    (line,) = [line for line in lines if line.lstrip().startswith(f"{key}:")]
    assert "# not in paper" in line
