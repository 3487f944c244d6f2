"""Projects of Tables 12, 13 and 17 say what VAN-Segmentation and the paper say."""

from pathlib import Path

import pytest
import yaml

from van_dense.config import load_config

ROOT = Path(__file__).resolve().parents[1]
TABLES = yaml.safe_load((ROOT / "projects/paper_tables.yaml").read_text())["tables"]
SEMFPN = {"b0": 0.2, "b1": 0.2, "b2": 0.2, "b3": 0.3}  # drop path, configs/sem_fpn
UPERNET = {  # drop path and batch size, configs/upernet
    "b2": (0.1, 16),
    "b3": (0.3, 16),
    "b4": (0.4, 32),
    "b4_in22k": (0.4, 32),
    "b5_in22k": (0.4, 16),
    "b6_in22k": (0.5, 16),
}


def load(name: str):
    return load_config(ROOT / "projects" / f"{name}.yaml")


def test_there_is_a_project_for_each_row_of_tables_12_13_and_17() -> None:
    rows = [r["project"] for n in (12, 13, 17) for r in TABLES[n]["rows"] if "project" in r]
    assert len(rows) == 11
    assert [row for row in rows if not (ROOT / "projects" / row).is_file()] == []


@pytest.mark.parametrize("size", SEMFPN)
def test_semantic_fpn_follows_the_40k_recipe(size: str) -> None:
    config = load(f"semfpn_van_{size}")
    backbone, decoder = config.model.backbone, config.model.decoder
    assert (backbone.name, backbone.weights) == (f"van_{size}", f"van_{size}_in1k")
    assert (backbone.drop_path, backbone.norm_eps) == (SEMFPN[size], 1e-5)
    assert (decoder.name, decoder.channels, decoder.head_channels) == ("semantic_fpn", 256, 128)
    assert config.model.auxiliary is None
    train, optimizer = config.train, config.train.optimizer
    assert (train.steps, train.batch_size, optimizer.base_batch) == (40_000, 32, 32)
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 2e-4, 1e-4)
    assert optimizer.no_decay == ()
    schedule = train.schedule
    assert (schedule.name, schedule.power, schedule.warmup_steps) == ("poly", 0.9, 0)


@pytest.mark.parametrize("row", UPERNET)
def test_upernet_follows_the_160k_recipe(row: str) -> None:
    config = load(f"upernet_van_{row}")
    drop_path, batch_size = UPERNET[row]
    size, _, source = row.partition("_")
    backbone, model, train = config.model.backbone, config.model, config.train
    assert (backbone.name, backbone.drop_path) == (f"van_{size}", drop_path)
    assert backbone.weights == f"van_{size}_{source or 'in1k'}"
    assert (model.decoder.name, model.decoder.channels) == ("upernet", 512)
    assert model.decoder.pool_scales == (1, 2, 3, 6)
    assert model.auxiliary.weight == 0.4 and model.auxiliary.channels == 256
    assert (train.steps, train.batch_size, train.optimizer.base_batch) == (
        160_000,
        batch_size,
        batch_size,
    )
    optimizer, schedule = train.optimizer, train.schedule
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 6e-5, 0.01)
    assert optimizer.no_decay == ("norm",)
    assert (schedule.name, schedule.power, schedule.warmup_steps) == ("poly", 1.0, 1500)
    assert schedule.warmup_ratio == 1e-6


@pytest.mark.parametrize("name", ["semfpn_van_b0", "upernet_van_b2"])
def test_ade20k_is_prepared_as_in_the_recipe(name: str) -> None:
    data = load(name).data
    assert len(data.classes) == 150
    assert data.label_map == ("0 -> ignore", "1..150 -> 0..149")
    t = data.transforms
    assert (t.scale, t.ratio, t.crop) == ((2048, 512), (0.5, 2.0), (512, 512))
    assert (t.cat_max_ratio, t.flip, t.test_scale, t.test_multiple) == (0.75, 0.5, (2048, 512), 32)
    colour = t.photometric
    assert (colour.brightness, colour.contrast, colour.saturation, colour.hue) == (
        32,
        (0.5, 1.5),
        (0.5, 1.5),
        18,
    )


@pytest.mark.parametrize("size", ["b1", "b2"])
def test_saliency_follows_the_paper(size: str) -> None:
    config = load(f"saliency_van_{size}")
    train = config.train
    assert config.model.backbone.name == f"van_{size}"
    assert config.data.transforms.size == (384, 384)
    assert (train.epochs, train.batch_size) == (30, 24)
    assert (train.optimizer.name, train.optimizer.lr) == ("adam", 5e-5)
    assert (train.optimizer.betas, train.optimizer.weight_decay) == ((0.9, 0.999), 1e-4)
    assert (train.optimizer.base_batch, train.optimizer.no_decay) == (24, ())
    schedule = train.schedule
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("step", (20,), 0.1)
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (200, 0.01)
    assert (config.model.backbone.drop_path, config.model.backbone.norm_eps) == (0.1, 1e-5)
    t = config.data.transforms
    assert (t.border_crop, t.flip, t.vertical_flip) == (12, 0.5, 0.0)
