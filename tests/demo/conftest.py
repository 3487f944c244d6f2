"""Servers of tiny networks with random weights, each of them in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from van_dense.api import Loaded, build_model
from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.demo.examples import Examples
from van_dense.demo.server import DemoServer
from van_dense.demo.session import Session

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
TWO = DatasetInfo("pets", ("cat", "dog"), (1, 2))
JOINTS = DatasetInfo(
    "sticks",
    ("stick",),
    (1,),
    keypoint_names=("left_end", "right_end", "middle"),
    skeleton=(("left_end", "middle"), ("middle", "right_end")),
)
WITHOUT_WEIGHTS = "model.backbone.weights=null"
SMALL = "data.transforms={test_short_side: 64, max_long_side: 128}"
KINDS: dict[str, tuple[str, DatasetInfo, tuple[str, ...]]] = {
    "detection": (
        "maskrcnn_van_b0",
        TWO,
        (
            "model.engine=torchvision",
            SMALL,
            "model.fpn.channels=16",
            "model.anchor_sizes=[8, 16, 24, 36, 48]",
            "model.rpn={train_post_nms: 50, test_post_nms: 30}",
            "model.box_head={channels: 32, score_threshold: 0.001}",
            "model.mask_head={channels: 16, convs: 1}",
            "eval.picture_score=0.2",
        ),
    ),
    "semantic": (
        "semfpn_van_b0",
        TWO,
        (
            "model.decoder={name: semantic_fpn, channels: 16, head_channels: 16}",
            "data.transforms={scale: [128, 64], crop: [64, 64], test_scale: null}",
            "data.label_map=['0..1 -> 0..1', '255 -> ignore']",
        ),
    ),
    "saliency": (
        "saliency_van_b1",
        TWO,
        ("model.backbone.name=van_b0", "data.transforms={size: [64, 64], border_crop: 2}"),
    ),
    "classification": ("classify_van_b0_in1k", TWO, ("data.transforms={size: 64, resize: 72}",)),
    "pose": (
        "pose_van_b0_256x192",
        JOINTS,
        (
            "data.transforms={size: [64, 64], flip: 0}",
            "eval.flip=false",
            "model.channels=[16, 16]",
        ),
    ),
}


def load_tiny(kind: str) -> Loaded:
    project, info, overrides = KINDS[kind]
    config = load_config(PROJECTS / f"{project}.yaml", [WITHOUT_WEIGHTS, *overrides])
    torch.manual_seed(0)
    model = build_model(config, info).eval()
    return Loaded(model, config, info, 0, torch.device("cpu"))


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (70, 90)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(2):
        photo(folder / f"{i}.png", i)
    return folder


@pytest.fixture(scope="session")
def serve(photos: Path) -> Iterator[Callable[[str], DemoServer]]:
    """From a kind of network to its server, started once and ended with the session."""
    servers: dict[str, DemoServer] = {}

    def start(kind: str) -> DemoServer:
        if kind not in servers:
            session = Session(load_tiny(kind), Examples.of_folder(photos), f"tiny {kind}")
            servers[kind] = DemoServer(session)
            run = servers[kind].serve_forever
            threading.Thread(target=run, args=(0.05,), daemon=True).start()
        return servers[kind]

    torch.set_num_threads(1)
    yield start
    for server in servers.values():
        server.shutdown()
        server.server_close()
