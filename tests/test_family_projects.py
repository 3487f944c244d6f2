"""Projects of VAN's relatives and of Light-Ham say what their repositories say."""

from pathlib import Path

import pytest
import yaml

from van_dense.config import load_config

ROOT = Path(__file__).resolve().parents[1]
TABLES = yaml.safe_load((ROOT / "projects/family_tables.yaml").read_text())["tables"]
SEGNEXT = {  # width of the head, rank and drop path, local_configs/segnext
    "t": (256, 16, 0.1),
    "s": (256, 16, 0.1),
    "b": (512, 64, 0.1),
    "l": (1024, 64, 0.3),
}
VAN_HAM = {"b0": (480, 0.1), "b1": (512, 0.1), "b2": (512, 0.1), "b3": (512, 0.25)}


def load(name: str):
    return load_config(ROOT / "projects" / f"{name}.yaml")


def test_there_is_a_project_for_each_segmenter_of_the_tables() -> None:
    rows = [row["project"] for name in ("segnext", "van_ham") for row in TABLES[name]["rows"]]
    expected = [f"segnext_{size}" for size in SEGNEXT] + [f"van_{size}_ham" for size in VAN_HAM]
    assert rows == [f"{name}.yaml" for name in expected]
    assert all((ROOT / "projects" / row).is_file() for row in rows)


@pytest.mark.parametrize("size", SEGNEXT)
def test_segnext_follows_its_recipe(size: str) -> None:
    config = load(f"segnext_{size}")
    width, rank, drop_path = SEGNEXT[size]
    backbone, decoder, train = config.model.backbone, config.model.decoder, config.train
    assert (backbone.name, backbone.weights) == (f"mscan_{size}", f"mscan_{size}_in1k")
    assert (backbone.drop_path, backbone.norm_eps, backbone.options) == (drop_path, None, {})
    assert (decoder.name, decoder.channels, decoder.ham_channels) == ("light_ham", width, width)
    assert (decoder.rank, decoder.train_steps, decoder.eval_steps) == (rank, 6, 7)
    assert decoder.dropout == 0.1 and config.model.auxiliary is None
    assert [loss.name for loss in config.model.losses] == ["cross_entropy"]
    optimizer, schedule = train.optimizer, train.schedule
    assert (train.steps, train.batch_size, optimizer.base_batch) == (160_000, 16, 16)
    assert optimizer.lr * optimizer.backbone_lr_factor == pytest.approx(6e-5)
    assert optimizer.lr == pytest.approx(10 * 6e-5)
    assert (optimizer.name, optimizer.weight_decay) == ("adamw", 0.01)
    assert optimizer.no_decay == ("norm",) and optimizer.decay_vectors
    assert (schedule.name, schedule.power, schedule.min_factor) == ("poly", 1.0, 0.0)
    assert (schedule.warmup_steps, schedule.warmup_ratio) == (1500, 1e-6)
    t = config.data.transforms
    assert (t.scale, t.ratio, t.crop) == ((2048, 512), (0.5, 2.0), (512, 512))
    assert (t.cat_max_ratio, t.flip, t.test_scale, t.test_multiple) == (0.75, 0.5, (2048, 512), 32)


@pytest.mark.parametrize("size", VAN_HAM)
def test_light_ham_on_van_follows_its_recipe(size: str) -> None:
    config = load(f"van_{size}_ham")
    ham_channels, drop_path = VAN_HAM[size]
    backbone, decoder, train = config.model.backbone, config.model.decoder, config.train
    assert (backbone.name, backbone.weights) == (f"van_{size}", f"van_{size}_in1k")
    assert (backbone.drop_path, backbone.norm_eps) == (drop_path, 1e-5)
    assert (decoder.channels, decoder.ham_channels, decoder.rank) == (512, ham_channels, 64)
    assert (train.steps, train.batch_size, train.optimizer.lr) == (160_000, 16, 6e-5)
    assert (train.optimizer.backbone_lr_factor, train.optimizer.weight_decay) == (1.0, 0.01)


@pytest.mark.parametrize("kind", ["maskrcnn", "retinanet"])
def test_lsknet_detects_with_the_dropout_of_its_authors(kind: str) -> None:
    config = load(f"{kind}_lsknet_s")
    backbone = config.model.backbone
    assert (config.model.kind, backbone.name, backbone.weights) == (
        kind,
        "lsknet_s",
        "lsknet_s_in1k",
    )
    assert (backbone.drop_path, backbone.options) == (0.1, {"drop_rate": 0.1})
    assert (config.train.epochs, config.train.batch_size) == (12, 16)
    assert "non-commercial" in (ROOT / f"projects/{kind}_lsknet_s.yaml").read_text()
