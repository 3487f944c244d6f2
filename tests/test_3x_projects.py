"""The 3x schedule and the projects that follow it."""

from pathlib import Path

import pytest

from van_dense.config import ConfigError, load_config
from van_dense.data.transforms import DetectionTrain
from van_dense.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
SPARSE = ROOT / "projects/sparsercnn_van_b2_3x.yaml"


@pytest.fixture
def mask_rcnn_3x(tmp_path: Path) -> Path:
    path = tmp_path / "project.yaml"
    fragments = [ROOT / "projects/maskrcnn_van_b2.yaml", ROOT / "configs/_schedule/3x.yaml"]
    path.write_text(f"extends: [{', '.join(map(str, fragments))}]")
    return path


def test_the_3x_recipe_is_that_of_swin(mask_rcnn_3x: Path) -> None:
    config = load_config(mask_rcnn_3x)
    train, optimizer, schedule = config.train, config.train.optimizer, config.train.schedule
    assert (train.epochs, train.batch_size, train.precision) == (36, 16, "fp16")
    assert (optimizer.name, optimizer.lr, optimizer.base_batch) == ("adamw", 1e-4, 16)
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.999), 0.05)
    assert (optimizer.no_decay, train.clip_norm) == (("norm",), None)
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (500, 0.001)
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (27, 33), 0.1)


@pytest.mark.parametrize("name", ["mask_rcnn_3x", "sparse"])
def test_images_are_of_several_scales_and_half_of_them_cropped(
    name: str, mask_rcnn_3x: Path
) -> None:
    config = load_config(SPARSE if name == "sparse" else mask_rcnn_3x)
    train = TASKS["detection"].build_transform(config, train=True).args[0]
    assert isinstance(train, DetectionTrain)
    assert train.short_sides == tuple(range(480, 801, 32))
    assert (train.max_long_side, train.flip) == (1333, 0.5)
    crop = train.crop
    assert crop is not None
    assert (crop.short_sides, crop.sides, crop.prob) == ((400, 500, 600), (384, 600), 0.5)
    assert crop.max_long_side == 1333
    assert config.data.transforms.test_short_side == 800


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
