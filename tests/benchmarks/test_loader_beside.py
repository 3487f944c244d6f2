"""benchmarks/loader_beside.py measures whole batches of a loader process, not times here."""

from pathlib import Path

import torch

from benchmarks.loader_beside import _tensors, one_turn
from van_dense.core.structures import Batch, Instances
from van_dense.data.sample.sample_data import write_sample_data


def test_a_turn_passes_the_images_and_names_the_batches_by_their_bytes(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "sample", train_images=4, val_images=1, size=64, seed=0)
    root = tmp_path / "sample"
    overrides = [
        f"data.train.images={root}/train2017",
        f"data.train.annotations={root}/annotations/instances_train2017.json",
        "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 112}",
        "train.micro_batch=2",
    ]
    first, again = one_turn("maskrcnn_van_b0", overrides), one_turn("maskrcnn_van_b0", overrides)
    assert first["images"] == 4 and first["micro_batch"] == 2
    assert first["sha256"] == again["sha256"]
    sides = "data.transforms={short_sides: [96], test_short_side: 64, max_long_side: 112}"
    other = one_turn("maskrcnn_van_b0", [*overrides, sides])
    assert other["sha256"] != first["sha256"]


def test_all_tensors_of_a_batch_are_touched() -> None:
    images, masks = torch.zeros(1, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)
    targets = [Instances(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), masks=masks)]
    found = _tensors(Batch(images, [(4, 4)], [(4, 4)], [0], targets=targets))
    assert len(found) == 4 and any(one is masks for one in found)
