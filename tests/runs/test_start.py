"""A training starts from a whole network, whatever fits of it: ``train.start_from``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from van_dense.config import Config, load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import best_path, save_checkpoint
from van_dense.models.class_rows import Rows
from van_dense.models.dense_model import DenseModel
from van_dense.runs.start import start_from
from van_dense.tasks import TASKS

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
TOYS = DatasetInfo("toys", ("ball", "cube", "ring"), (0, 1, 2))
FRUIT = DatasetInfo("fruit", ("apple", "lemon", "pear"), (0, 1, 2))
PAIR = DatasetInfo("pair", ("ball", "cube"), (0, 1))


def config_of(project: str, *overrides: str) -> Config:
    return load_config(PROJECTS / f"{project}.yaml", overrides, sample=True)


def network(config: Config, info: DatasetInfo, seed: int) -> DenseModel:
    torch.manual_seed(seed)
    return TASKS[config.task].build_model(config, info)


def checkpoint(
    folder: Path,
    config: Config,
    model: DenseModel,
    *,
    average: bool = False,
    info: DatasetInfo = TOYS,
) -> str:
    weights = model.state_dict()
    zeros = {key: torch.zeros_like(value) for key, value in weights.items()}
    content = {
        "step": 90,
        "model": zeros if average else weights,
        "ema": weights if average else None,
        "info": info.to_dict(),
        "config": config.model_dump(mode="json"),
    }
    save_checkpoint(best_path(folder), content)
    return str(folder)


def start(model: DenseModel, source: str, info: DatasetInfo, backbone: str = "van_b0") -> str:
    return str(start_from(model, source, backbone=backbone, info=info))


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("project", ["quickstart", "semfpn_van_b0", "classify_van_b0_in1k"])
def test_of_the_same_classes_everything_is_taken_the_average_where_there_is_one(
    project: str, average: bool, tmp_path: Path
) -> None:
    config = config_of(project)
    trained, model = network(config, TOYS, 1), network(config, TOYS, 2)
    text = start(model, checkpoint(tmp_path, config, trained, average=average), TOYS)
    torch.testing.assert_close(model.state_dict(), trained.state_dict(), rtol=0, atol=0)
    assert "fills 100.0 % of" in text and "(step 90)" in text
    assert "\n" not in text  # nothing starts anew, nothing is left over, the classes are the same


# Every head: layers of the classes, and rows of each class in them.
HEADS = {
    "maskrcnn_van_b0": {"box.class_logits": 1, "box.box_deltas": 4, "mask.predictor.mask_fcn_l": 1},
    "cascade_maskrcnn_van_b2_3x": {"stages.2.box.class_logits": 1, "stages.2.mask.predictor.m": 1},
    "retinanet_van_b0": {"head.class_logits": 9},
    "atss_van_b2_3x": {"head.towers.class_logits": 1},
    "gfl_van_b2_3x": {"head.towers.class_logits": 1},
    "sparsercnn_van_b2_3x": {"heads.0.class_logits": 1, "heads.5.class_logits": 1},
    "semfpn_van_b0": {"decoder.conv_seg": 1},
    "upernet_van_b2": {"decoder.conv_seg": 1, "auxiliary.conv_seg": 1},
    "van_b0_ham": {"decoder.conv_seg": 1},
    "panopticfpn_van_b2": {"box.class_logits": 1, "semantic.conv_seg": 1},
    "mask2former_van_b2": {"class_head": 1},
    "classify_van_b0_in1k": {"backbone.body.head": 1},
}
NAMES = ("ball", "sky", "cube", "sea")
STUFF = ("sky", "sea", "mud")


def scenery(*names: str) -> DatasetInfo:
    """Things and stuff; other tasks take all for classes."""
    things = tuple(name not in STUFF for name in names)
    return DatasetInfo("scenery", names, tuple(range(len(names))), is_thing=things)


def _check_rows(model: DenseModel, rows_of: dict[str, Rows], layers: dict[str, int]) -> None:
    """All rows have a name, and each class as many as the layer has for it."""
    for key, value in model.state_dict().items():
        if (rows := rows_of.get(key.rpartition(".")[0])) is not None:
            assert len(value) == len(rows), key
    for layer, count in layers.items():
        (rows,) = (rows for name, rows in rows_of.items() if name.startswith(layer))
        name = "sky" if layer == "semantic.conv_seg" else "ball"
        assert sum(name == what or name in what[:2] for what in rows) == count, layer


@pytest.mark.parametrize("project", HEADS)
def test_rows_follow_the_names_of_classes(project: str, tmp_path: Path) -> None:
    config, old = config_of(project, "model.backbone.name=van_b0"), scenery(*NAMES)
    trained = network(config, old, 1)
    source, there = checkpoint(tmp_path, config, trained, info=old), trained.named_rows(old)
    _check_rows(trained, there, HEADS[project])
    # Reordered and renamed with one more, then two less.
    for names in (("cube", "ring", "sea", "ball", "mud"), ("sky", "cube")):
        new = scenery(*names)
        model = network(config, new, 2)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        text = start(model, source, new)
        for prefix in HEADS[project]:
            (layer,) = (name for name in there if name.startswith(prefix))
            for kind in (f"{layer}.weight", f"{layer}.bias"):
                rows, old_rows = model.state_dict()[kind], trained.state_dict()[kind]
                for row, what in enumerate(model.named_rows(new)[layer]):
                    is_known = what in there[layer]
                    expected = old_rows[there[layer].index(what)] if is_known else before[kind][row]
                    assert torch.equal(rows[row], expected), (names, layer, what)
        shared = [name for name in names if name in NAMES]
        assert f"{len(shared)} keep their rows, by name: {', '.join(shared)}" in text
        assert ("; 2 start anew: " in text) == ("ring" in names)


def test_light_ham_of_another_rank_is_refused_although_every_weight_fits(tmp_path: Path) -> None:
    config = config_of("van_b0_ham", "model.decoder.rank=8")
    source = checkpoint(tmp_path, config, network(config, TOYS, 1))
    model = network(config_of("van_b0_ham"), FRUIT, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"start_from: .*rank 8, this network has 64, .*set model\.decoder\.rank=8"
    ):
        start(model, source, FRUIT)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_without_a_common_class_the_last_layers_start_anew(tmp_path: Path) -> None:
    config = config_of("quickstart")
    source = checkpoint(tmp_path, config, network(config, TOYS, 1))
    text = start(network(config, FRUIT, 2), source, FRUIT)
    assert "3 start anew: apple, lemon, pear; 3 are not used: ball, cube, ring" in text
    assert "fills 99.9 %" in text


def test_another_detector_takes_what_it_shares_and_names_the_rest(tmp_path: Path) -> None:
    masks = config_of("quickstart")
    depths = f"model.backbone.options={masks.model.backbone.options}"
    boxes = config_of("retinanet_van_b0", depths)
    trained, model = network(masks, TOYS, 1), network(boxes, TOYS, 2)
    text = start(model, checkpoint(tmp_path, masks, trained), TOYS)
    torch.testing.assert_close(
        model.backbone.state_dict(), trained.backbone.state_dict(), rtol=0, atol=0
    )
    assert "most of it starts anew" in text and "--config RUN/config.yaml" in text
    new, _, unused = text.partition("not used")
    assert "fpn.pyramid.inner_blocks.0.0.weight (256, 64, 1, 1), there (64, 32, 1, 1)" in new
    shared = trained.state_dict().keys() & model.state_dict().keys()
    assert int(unused.split()[0]) == len(trained.state_dict()) - len(shared)


def test_another_backbone_is_an_error_that_names_both(tmp_path: Path) -> None:
    config = config_of("quickstart")
    source = checkpoint(tmp_path, config, network(config, TOYS, 1))
    model = network(config_of("quickstart", "model.backbone.name=van_b1"), TOYS, 2)
    with pytest.raises(ValueError, match=r"has the backbone van_b0, this experiment van_b1"):
        start(model, source, TOYS, backbone="van_b1")


def test_published_weights_of_a_backbone_are_another_name_of_the_same(tmp_path: Path) -> None:
    config = config_of("retinanet_van_b0", "model.backbone.name=resnet18")
    trained, model = network(config, TOYS, 1), network(config, TOYS, 2)
    source = checkpoint(tmp_path, config, trained)
    assert "fills 100.0 %" in start(model, source, TOYS, backbone="resnet18.a1_in1k")


def test_a_missing_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such run folder"):
        start(network(config_of("quickstart"), TOYS, 1), str(tmp_path / "nothing"), TOYS)


def test_joints_in_another_order_are_said_to_be_others(tmp_path: Path) -> None:
    config = config_of("pose_van_b0_256x192")
    info = TASKS["pose"].dataset_info(config)
    backwards = replace(info, keypoint_names=info.keypoint_names[::-1])
    source = checkpoint(tmp_path, config, network(config, info, 1), info=info)
    text = start(network(config, info, 2), source, backwards)
    assert "17 keep their rows, by name: right_ankle, left_ankle" in text
    assert "\n" not in start(network(config, info, 2), source, info)
