"""Which layers of a run may compute in 8-bit integers, by measurement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from van_dense.core.counting import counted
from van_dense.core.structures import Instances, Sample, instances_from_sample
from van_dense.data.dataset import DenseDataset
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

    A network that takes boxes gets the annotated ones.

    Args:
        loaded: The run.
        network: What its files compute.
        number: Number of images, or of instances where these are what a run learns from.

    Raises:
        ValueError: When the training part cannot be read.
    """
    seen: list[Inputs] = []

    def record(images: Tensor, sizes: Tensor, **more: Tensor) -> dict[str, Tensor]:
        given = {"images": images, "sizes": sizes, **more}
        seen.append({name: tensor.numpy() for name, tensor in given.items()})
        return dict(network.run(images, sizes, **more))

    dataset = _training_part(loaded)
    number = min(number, len(dataset))
    with torch.inference_mode():
        for index in np.linspace(0, len(dataset) - 1, number).round().astype(int):
            sample = dataset.raw(int(index))
            if "boxes" in network.inputs:
                sample = replace(sample, proposals=_annotated(sample))
            network.predict(record, batch_of(loaded, sample))
    return seen


def _training_part(loaded: Loaded) -> DenseDataset:
    data = loaded.config.data
    keys = list(data.files())
    keys = [key for key in keys if "train" in key] or keys
    need = "int8 needs images of the training part, which its ranges are calibrated with"
    fix = f"name those that are here by {' and '.join(keys)} (KEY=PATH), or with --data FRAGMENT"
    try:
        dataset = task_of(loaded.config).build_dataset(loaded.config, "train")
    except (ValueError, OSError) as error:
        raise ValueError(f"{need}: {error}; {fix}") from error
    if len(dataset) == 0:
        raise ValueError(f"{need}, but there are none; {fix}")
    return dataset


def _annotated(sample: Sample) -> Instances:
    """The annotated instances as proposals, in the pixels of a sample."""
    found = instances_from_sample(sample)
    if found.crowd is not None:
        found = found[~found.crowd]
    return Instances(found.boxes, found.labels, torch.ones(len(found)))


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
        Drift: When layers in float32 do not help, half of them where there are many.
        ValueError: When the model has no layer that integers can compute.
    """
    layers = quantiser.layers
    if not layers:
        what = "no convolution or matrix product with weights, so nothing would be in integers"
        raise ValueError(f"the model has {what}; take --precision fp32")

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
    numbers = [number for number in _KEPT if number < len(groups)]
    # A single layer is no choice: without it nothing is in integers.
    errors = [comparison.error(open_file(write(one)).runner(())) for one in groups if numbers]
    worst_first = np.argsort(errors, kind="stable")
    kept: list[str] = []
    for number in numbers:
        kept = [name for index in sorted(worst_first[:number]) for name in groups[index]]
        file = write(kept)
        try:
            return comparison.check(file), kept
        except Drift as drift:
            log.info("with %s in float32: %s", counted(len(kept), "layer"), drift)
            reason = drift
    tried = f"{len(kept)} of {counted(len(layers), 'layer')} in float32"
    raise Drift(f"int8, with {tried}: {reason}") from reason
