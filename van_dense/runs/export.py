"""Export a trained run."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from van_dense.backbones.build import TimmModel
from van_dense.backbones.unireplknet import merged_copy
from van_dense.core.optional import require
from van_dense.core.structures import Size
from van_dense.deploy.backbone import (
    BackboneNetwork,
    backbone_network,
    exported_backbone,
    save_onnx_backbone,
)
from van_dense.deploy.formats import SUFFIXES, Format, Precision
from van_dense.deploy.write import check_place, into_place
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.inference.export import CALIBRATION, IMAGES, Exported, write_file
from van_dense.inference.gate import TOLERANCES, Drift
from van_dense.inference.load import load


def export_run(
    run: str | Path,
    output: str | Path,
    *,
    format: Format = "onnx",
    precision: Precision = "fp32",
    checkpoint: str = "best",
    images: Sequence[str | Path] = (),
    num_images: int = IMAGES,
    num_calibration: int = CALIBRATION,
    licence: str = "not stated",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
) -> Exported:
    """Write a trained run for ONNX Runtime, OpenVINO or ``torch.export``; see ``write_file``.

    Args:
        run: Run folder or checkpoint file.
        output: File to write, ending in .onnx, .xml or .pt2 as the format asks.
        format: "onnx", "openvino" (.xml, with a .bin beside it) or "torch".
        precision: What the file computes in: "fp32", "int8", or of openvino "bf16".
        checkpoint: "best", "last" or a file.
        images: Images to compare with, in place of some of the validation part; no metric then.
        num_images: Number of validation images to compare with, all of them kept in memory.
        num_calibration: Number of training images that give the ranges of int8.
        licence: Licence of the weights, to be stated in the file.
        fragments: YAML files laid over the stored config.
        overrides: ``key.path=value`` on top of them.

    Raises:
        Drift: When file and run differ.
        ValueError: When the model cannot be exported, there is nothing to compare with, or the
            format has no such precision.
    """
    path = choose_checkpoint(run, checkpoint)
    loaded = load(path, fragments=fragments, overrides=overrides, device="cpu")
    return write_file(
        loaded,
        output,
        checkpoint=path,
        format=format,
        precision=precision,
        images=images,
        num_images=num_images,
        num_calibration=num_calibration,
        licence=licence,
    )


def export_backbone(
    run: str | Path,
    output: str | Path,
    *,
    format: Format = "onnx",
    checkpoint: str = "best",
    size: Size | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, float]:
    """Write the backbone of a run alone: from uint8 images to maps at strides 4, 8, 16 and 32.

    Args:
        run: Run folder or checkpoint file.
        output: File to write, ending in .onnx or .pt2 as the format asks.
        format: "onnx", or "torch" for a program of ``torch.export``.
        checkpoint: "best", "last" or a file.
        size: (height, width) for a file of one size alone; any size otherwise.
        overrides: ``key.path=value`` over the stored config.

    Returns:
        The largest difference of each map, as a part of its largest number, on noise of two sizes;
        nothing for a program of ``torch.export``.

    Raises:
        Drift: When a map differs; no file is left then.
        OSError: When no file can be put there.
        ValueError: For a backbone without these maps, or another format.
    """
    path = Path(output)
    if format not in ("onnx", "torch"):
        raise ValueError(f"a backbone is written as onnx, which OpenVINO reads, or torch: {format}")
    if path.suffix != SUFFIXES[format]:
        raise ValueError(f"{path}: a file of format {format} must end in {SUFFIXES[format]}")
    check_place(path)
    loaded = load(run, checkpoint=checkpoint, overrides=overrides, device="cpu")
    network = backbone_network(merged_copy(cast("TimmModel", loaded.model.backbone)))
    with into_place(path) as written:
        if format == "torch":
            torch.export.save(exported_backbone(network, size=size), written)
            return {}
        save_onnx_backbone(network, written, size=size)
        return _compare_maps(network, written, [size] if size else [(128, 160), (224, 96)])


def _compare_maps(network: BackboneNetwork, file: Path, sizes: Sequence[Size]) -> dict[str, float]:
    runtime = require("onnxruntime", "comparing an ONNX file")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    differences = dict.fromkeys(network.outputs, 0.0)
    rng = np.random.default_rng(0)
    for size in sizes:
        images = rng.integers(0, 256, (1, 3, *size), dtype=np.uint8)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images))
        found = session.run(list(network.outputs), {"images": images})
        for name, one, other in zip(network.outputs, expected, found, strict=True):
            difference = float((one - torch.from_numpy(other)).abs().max() / one.abs().max())
            differences[name] = max(differences[name], difference)
            if not difference <= TOLERANCES["fp32"].outputs:
                raise Drift(f"stage outputs: map {name} at {size} differs by {difference:.3g}")
    return differences
