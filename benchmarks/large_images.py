"""A label map of an image that memory cannot hold: peak memory and CPU time by its size.

large_images.py --output FILE.json [--sides 5000 10000 20000 50000]

The image is a tiled TIFF of 512-pixel tiles, Deflate, whose 64 different tiles repeat; the network
is one convolution of 32 pixels at a stride of 32 to two classes, so that what is measured is
everything around a network. Each size runs in a process of its own, through what ``van-dense
predict --tile 2048 2048`` calls. At 4,096 pixels the map is compared with that of the same image
in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.machine import describe_machine, shareable_command

TILE, KINDS, SIDE, COMPARED = 512, 64, 2048, 4096


def main() -> int:
    """Measure every size, print and write a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[5000, 10000, 20000, 50000])
    parser.add_argument("--output", type=Path, metavar="JSON", help="file to write")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one)))
        return 0
    rows = []
    for side in (COMPARED, *arguments.sides):
        command = [sys.executable, __file__, "--one", str(side)]
        rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
        print(rows[-1], flush=True)
    if arguments.output is not None:
        made: dict[str, Any] = {
            "command": shareable_command(sys.argv[1:], script="benchmarks/large_images.py"),
            "machine": describe_machine(),
            "tile": SIDE,
            "sizes": rows,
        }
        arguments.output.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(side: int) -> dict[str, Any]:
    """Predict one image of ``side`` x ``side`` pixels."""
    from van_dense.core import budgets
    from van_dense.data.io.image import read_image
    from van_dense.data.io.masks import read_labels
    from van_dense.inference.files import FilePrediction
    from van_dense.inference.large import LargeImages
    from van_dense.inference.selection import Selection
    from van_dense.inference.tiles import predict_tiled

    budgets.PIXELS_AT_ONCE = 0
    windows: dict[str, Any] = {"tile": (SIDE, SIDE), "overlap": 0.2, "batch_size": 1}
    with tempfile.TemporaryDirectory() as made:
        path, out = Path(made) / "large.tif", Path(made) / "out"
        write_image(path, side)
        loaded = stub()
        large = LargeImages(loaded, **windows, precision="fp32", selection=Selection())
        began, cpu = time.perf_counter(), time.process_time()
        before = peak_mib()
        job = FilePrediction(lambda sources: iter([]), out, large=large)
        job.run({path: "large"})
        row: dict[str, Any] = {
            "side": side,
            "megapixels": round(side * side / 1e6, 1),
            "peak_mib": peak_mib(),
            "peak_mib_before": before,
            "cpu_s": round(time.process_time() - cpu, 1),
            "wall_s": round(time.perf_counter() - began, 1),
            "map_mb": round((out / "masks/large.tif").stat().st_size / 1e6, 2),
            "summary": job.summary(),
        }
        if side == COMPARED:
            expected = predict_tiled(loaded, read_image(path), **windows).semantic
            row["equal"] = bool(np.array_equal(read_labels(out / "masks/large.tif"), expected))
    return row


def peak_mib() -> int:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def stub() -> Any:
    """A semantic run of two classes whose network is one convolution."""
    import torch
    from torch import nn

    import van_dense
    from van_dense.inference.loaded import Loaded
    from van_dense.models.segmentation.semantic import SemanticSegmenter
    from van_dense.tasks import TASKS
    from van_dense.tasks.semantic import inference_of

    settings = ["data.classes=[dark, bright]", "data.label_map=['0..1 -> 0..1', '255 -> ignore']"]
    config = van_dense.load_config("semfpn_van_b0", [*settings, "model.backbone.weights=null"])
    torch.manual_seed(0)
    network = nn.Conv2d(3, 2, kernel_size=32, stride=32)
    inference = inference_of(config)
    model = SemanticSegmenter(
        network,
        nn.Identity(),
        losses=[("none", nn.Identity(), 1.0)],
        inference=inference,
        auxiliary=None,
        auxiliary_weight=0.0,
    ).eval()
    info = TASKS["semantic"].dataset_info(config)
    return Loaded(model, config, info, 0, torch.device("cpu"))


def write_image(path: Path, side: int) -> None:
    """A tiled BigTIFF whose tiles point to a few that are stored."""
    import cv2

    from van_dense.data.io.tiled_map import write_directory

    rng = np.random.default_rng(0)
    across = -(-side // TILE)
    stored = []
    with path.open("wb") as file:
        file.write(bytes(16))
        for _ in range(KINDS):
            coarse = rng.integers(0, 256, (TILE // 64, TILE // 64, 3), dtype=np.uint8)
            tile = cv2.resize(coarse, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
            data = zlib.compress(tile.tobytes(), 1)
            stored.append((file.tell(), len(data)))
            file.write(data)
        chosen = np.array(stored)[rng.integers(0, KINDS, across * across)]
        short, long = (3, "H"), (16, "Q")
        tags = {256: (long, [side]), 257: (long, [side]), 258: (short, [8, 8, 8])}
        tags |= {tag: (short, [value]) for tag, value in {259: 8, 262: 2, 277: 3, 284: 1}.items()}
        tags |= {322: (short, [TILE]), 323: (short, [TILE])}
        tags |= {324: (long, chosen[:, 0]), 325: (long, chosen[:, 1])}
        write_directory(file, tags)


if __name__ == "__main__":
    sys.exit(main())
