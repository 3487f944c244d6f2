"""Which layers of a run may compute in 8-bit integers, by measurement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from van_dense.core.counting import counted
from van_dense.deploy.network import Network
from van_dense.deploy.quantise import Inputs, Quantiser
from van_dense.deploy.runtime import open_file
from van_dense.inference.comparison import Compared, Comparison, batch_of
from van_dense.inference.gate import Drift
from van_dense.inference.loaded import Loaded
from van_dense.tasks import task_of

log = logging.getLogger(__name__)

GROUPS = 16  # of neighbouring layers, which are measured together
_KEPT = (1, 2, 4, 8)  # numbers of groups that are tried to stay in float32

Finish = Callable[[Path], Path]  # from an ONNX file to the file in its final format


def calibration_inputs(loaded: Loaded, network: Network, number: int) -> list[Inputs]:
    """What the network gets for training images that are spread over all of them.

    Args:
        loaded: The run.
        network: What its files compute.
        number: Number of images.
    """
    seen: list[Inputs] = []

    def record(images: Tensor, sizes: Tensor, **more: Tensor) -> dict[str, Tensor]:
        given = {"images": images, "sizes": sizes, **more}
        seen.append({name: tensor.numpy() for name, tensor in given.items()})
        return dict(network.run(images, sizes, **more))

    dataset = task_of(loaded.config).build_dataset(loaded.config, "train")
    number = min(number, len(dataset))
    with torch.inference_mode():
        for index in np.linspace(0, len(dataset) - 1, number).round().astype(int):
            network.predict(record, batch_of(loaded, dataset.raw(int(index))))
    return seen


def write_int8(
    quantiser: Quantiser, comparison: Comparison, folder: Path, finish: Finish
) -> tuple[Compared, list[str]]:
    """Write a file of integers that passes the gate, with as few layers in float32 as that takes.

    Where the file with all layers in integers drifts, groups of neighbouring layers are left in
    float32 one at a time; those whose absence brings results closest to the run's stay so.

    Args:
        quantiser: Writer of files with some layers in integers, made of the float file.
        comparison: Images that the file and the run are compared on.
        folder: Existing folder for files on the way.
        finish: From an ONNX file to the one that is to be compared.

    Returns:
        What the gate saw of the file that was finished last, and its layers in float32 by name.

    Raises:
        Drift: When half of the layers in float32 do not help.
    """
    layers = quantiser.layers

    def write(kept: Sequence[str]) -> Path:
        path = folder / "int8.onnx"
        quantiser.write(path, set(layers) - set(kept))
        return finish(path)

    file = write([])
    try:
        return comparison.check(file), []
    except Drift as drift:
        log.info("with all %s in integers: %s", counted(len(layers), "layer"), drift)
        reason = drift
    groups = [list(group) for group in np.array_split(layers, min(GROUPS, len(layers)))]
    errors = [comparison.error(open_file(write(group)).runner(())) for group in groups]
    worst_first = np.argsort(errors, kind="stable")
    for number in [n for n in _KEPT if n < len(groups)]:
        kept = [name for index in sorted(worst_first[:number]) for name in groups[index]]
        file = write(kept)
        try:
            return comparison.check(file), kept
        except Drift as drift:
            log.info("with %s in float32: %s", counted(len(kept), "layer"), drift)
            reason = drift
    raise Drift(f"int8, with half of the layers in float32: {reason}") from reason
