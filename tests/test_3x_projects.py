"""The 3x schedule and the projects that follow it."""

from pathlib import Path

import pytest

from van_dense.config import ConfigError, load_config
from van_dense.data.transforms.detection import DetectionTrain
from van_dense.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
SPARSE = ROOT / "projects/sparsercnn_van_b2_3x.yaml"


PROJECTS = sorted((ROOT / "projects").glob("*_van_b2_3x.yaml"))
each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.stem)


def test_there_is_a_project_for_each_detector_of_table_11_and_sparse_r_cnn() -> None:
    kinds = {load_config(project).model.kind for project in PROJECTS}
    assert kinds == {"maskrcnn", "cascade_maskrcnn", "atss", "gfl", "sparsercnn"}


@pytest.mark.parametrize("project", sorted({*PROJECTS} - {SPARSE}), ids=lambda path: path.stem)
def test_the_3x_recipe_is_that_of_swin(project: Path) -> None:
    """AdamW 1e-4, weight decay 0.05, batch 16, 36 epochs (CVMJ 4.2); the rest is Swin's."""
    config = load_config(project)
    train, optimizer, schedule = config.train, config.train.optimizer, config.train.schedule
    assert (train.epochs, train.batch_size, train.precision) == (36, 16, "fp16")
    assert (optimizer.name, optimizer.lr, optimizer.base_batch) == ("adamw", 1e-4, 16)
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.999), 0.05)
    assert (optimizer.no_decay, train.clip_norm) == (("norm",), None)
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (500, 0.001)
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (27, 33), 0.1)


@each_project
def test_images_are_of_several_scales_and_half_of_them_cropped(project: Path) -> None:
    config = load_config(project)
    train = TASKS["detection"].build_transform(config, train=True).args[0]
    assert isinstance(train, DetectionTrain)
    assert train.short_sides == tuple(range(480, 801, 32))
    assert (train.max_long_side, train.flip) == (1333, 0.5)
    crop = train.crop
    assert crop is not None
    assert (crop.short_sides, crop.sides, crop.prob) == ((400, 500, 600), (384, 600), 0.5)
    assert crop.max_long_side == 1333
    assert config.data.transforms.test_short_side == 800


@each_project
def test_the_model_is_what_the_name_says(project: Path) -> None:
    model = load_config(project).model
    assert model.kind == project.stem.removesuffix("_van_b2_3x")
    assert (model.backbone.name, model.backbone.weights) == ("van_b2", "van_b2_in1k")
    assert (model.backbone.drop_path, model.backbone.norm_eps) == (0.2, 1e-5)


@each_project
def test_the_sample_runs_in_a_precision_that_every_machine_has(project: Path) -> None:
    assert load_config(project, sample=True).train.precision == "fp32"


def test_projects_of_1x_do_not_crop() -> None:
    assert load_config(ROOT / "projects/maskrcnn_van_b2.yaml").data.transforms.crop is None


def test_a_crop_range_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.transforms\.crop.*smaller side first"):
        load_config(SPARSE, ["data.transforms.crop.range=[600, 384]"])


def test_sparse_r_cnn_follows_the_recipe_of_pvt() -> None:
    config = load_config(SPARSE)
    train, optimizer, model = config.train, config.train.optimizer, config.model
    assert (train.epochs, train.batch_size, train.clip_norm) == (36, 8, 1.0)
    assert optimizer.lr == pytest.approx(2.5e-5 / 1.4, rel=1e-4)
    assert (optimizer.base_batch, optimizer.weight_decay, optimizer.no_decay) == (8, 1e-4, ())
    assert train.schedule.milestones == (27, 33)
    assert (model.kind, model.backbone.name, model.backbone.drop_path) == (
        "sparsercnn",
        "van_b2",
        0.2,
    )
    assert (model.proposals, model.stages, model.max_detections) == (300, 6, 300)
    assert (model.weights.focal, model.weights.l1, model.weights.giou) == (2, 5, 2)
    head = model.head
    assert (head.attention_heads, head.feedforward, head.dynamic_channels) == (8, 2048, 64)


def test_attention_heads_must_divide_the_channels() -> None:
    with pytest.raises(ConfigError, match=r"fpn\.channels 100 is not a multiple"):
        load_config(SPARSE, ["model.fpn.channels=100"])


def test_the_sample_run_of_sparse_r_cnn_has_small_whole_images_and_needs_no_gpu() -> None:
    config = load_config(SPARSE, sample=True)
    assert config.data.transforms.short_sides == (128,)
    assert config.data.transforms.crop is None
    assert config.train.precision == "fp32"
