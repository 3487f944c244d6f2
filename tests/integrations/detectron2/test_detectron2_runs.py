"""One checkpoint, two engines: runs evaluate and go on with the other one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import van_dense
from van_dense.config import load_config
from van_dense.config.engine import has_detectron2
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.engine.checkpoint import load_checkpoint
from van_dense.engine.log import read_log
from van_dense.runs.training import plan_run, train_run

if not has_detectron2():
    pytest.skip("Detectron2 is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(root, train_images=8, val_images=4, size=64, seed=3, parts=("instances",))
    torch.set_num_threads(1)

    def make(project: str, *overrides: str):
        short = "{short_sides: [64], test_short_side: 64, max_long_side: 112}"
        tiny = [
            f"data.sample={{train_images: 8, val_images: 4, size: 64, seed: 3, root: {root}}}",
            *(f"data.{p}.images={root}/{p}2017" for p in ("train", "val")),
            *(
                f"data.{p}.annotations={root}/annotations/instances_{p}2017.json"
                for p in ("train", "val")
            ),
            f"data.transforms={short}",
            "model.fpn.channels=16",
            "model.anchor_sizes=[8, 16, 24, 36, 48]",
            "data.workers=0",
            "train={steps: 4, batch_size: 2, save_every: 2, keep_last: 9, log_every: 1}",
            "train.schedule.warmup_steps=0",
            "train.eval_every=null",
            "eval={pictures: 0, oracle_images: 0}",
        ]
        return load_config(ROOT / "projects" / project, [*tiny, *overrides], sample=True)

    return make


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_log(run / "log.jsonl") if line["kind"] == "train"]


CASCADE = (
    "model.backbone.name=van_b0",
    "model.box_head={convs: 1, conv_channels: 16, channels: 32, samples: 64}",
    "model.mask_head={channels: 16, convs: 1}",
    "train.precision=fp32",
)


@pytest.mark.parametrize(
    ("project", "more"),
    [
        ("quickstart.yaml", ()),
        ("retinanet_van_b0.yaml", ()),
        ("cascade_maskrcnn_van_b2_3x.yaml", CASCADE),
    ],
)
def test_a_run_goes_on_with_the_other_engine(make_config, tmp_path, project, more):
    names = ("torchvision", "detectron2")
    configs = {name: make_config(project, *more, f"model.engine={name}") for name in names}
    for name, config in configs.items():
        train_run(config, tmp_path / name)
    ours, theirs = (losses(tmp_path / name) for name in names)
    assert len(ours) == 4
    assert ours == pytest.approx(theirs, rel=1e-3)

    # The last two steps again, from the other engine's checkpoint with its optimiser.
    (tmp_path / "torchvision/checkpoints/step_00000004.pt").unlink()
    train_run(configs["detectron2"], tmp_path / "torchvision", resume=True)
    assert losses(tmp_path / "torchvision")[-2:] == pytest.approx(theirs[-2:], rel=1e-3)
    state = load_checkpoint(tmp_path / "torchvision/checkpoints/step_00000004.pt")
    assert state["config"]["model"]["engine"] == "detectron2"

    run = tmp_path / "detectron2"
    a = van_dense.load(run, checkpoint="last", overrides=["model.engine=torchvision"])
    b = van_dense.load(run, checkpoint="last")
    assert type(a.model) is not type(b.model)
    weights = b.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in a.model.state_dict().items())


def test_auto_is_frozen_and_the_plan_names_the_engine(make_config):
    config = make_config("quickstart.yaml", "model.engine=auto")
    assert config.model.engine == "detectron2"
    assert "engine detectron2" in plan_run(config)
