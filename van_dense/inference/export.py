"""Write a trained run as a file of another runtime, and compare both before it gets its name."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch.nn import functional as F

from van_dense.config import Config, dump_config
from van_dense.core.structures import Batch, Prediction, Sample, size_of
from van_dense.data.collate import collate
from van_dense.data.io.sources import named_sources, read_source, source_name
from van_dense.deploy.card import Card
from van_dense.deploy.formats import SUFFIXES, Format
from van_dense.deploy.network import Network
from van_dense.deploy.networks import network_of
from van_dense.deploy.runtime import open_file
from van_dense.deploy.write import write_onnx, write_openvino, write_torch
from van_dense.inference.gate import TOLERANCES, Drift, Gate
from van_dense.inference.loaded import Loaded
from van_dense.tasks import task_of

log = logging.getLogger(__name__)

IMAGES = 8  # of the validation part that are compared


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what was compared."""

    path: Path
    images: int  #: number of images that were compared
    differences: Mapping[str, float]  #: the largest ones, by name
    metrics: Mapping[str, tuple[float, float]]  #: of the run and of the file, by name


def write_file(
    loaded: Loaded,
    output: str | Path,
    *,
    checkpoint: Path,
    format: Format = "onnx",
    images: Sequence[str | Path] = (),
    num_images: int = IMAGES,
    licence: str = "not stated",
) -> Exported:
    """Write a loaded run for ONNX Runtime, OpenVINO or ``torch.export``.

    The file is opened again in its runtime and compared with the run, see ``Gate``; one that
    differs is not left behind.

    Args:
        loaded: The run, on the CPU.
        output: File to write, ending as the format asks (``SUFFIXES``).
        checkpoint: File that the run was loaded from.
        format: "onnx", "openvino" (.xml, with a .bin beside it) or "torch".
        images: Images to compare with, in place of some of the validation part; no metric then.
        num_images: Number of validation images to compare with.
        licence: Licence of the weights, to be stated in the file.

    Raises:
        Drift: When file and run differ.
        ValueError: When the model cannot be exported, or there is nothing to compare with.
    """
    path = Path(output)
    if path.suffix != SUFFIXES[format]:
        raise ValueError(f"{path}: a file of format {format} must end in {SUFFIXES[format]}")
    network = network_of(loaded.model).eval()
    card = _card(loaded, network, checkpoint, licence)
    loaded = replace(loaded, config=_of_first_images(loaded.config, num_images))
    batches = list(_given(loaded, images) if images else _validation(loaded))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        _write(network, batches[0], written, format, card)
        if format == "torch":
            found = Exported(path, 0, {}, {})
        else:
            found = _compare(loaded, network, written, batches, has_truth=not images)
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == path.suffix):
            os.replace(file, path.with_name(file.name))  # the one that names others comes last
    return replace(found, path=path)


def exported_file(loaded: Loaded, checkpoint: Path, runtime: str) -> Path:
    """The file of a run for a runtime, in ``exports/`` beside its checkpoints.

    It is written once, and again when checkpoint or van_dense have changed.
    """
    folder = checkpoint.parent
    folder = (folder.parent if folder.name == "checkpoints" else folder) / "exports"
    path = folder / f"{checkpoint.stem}.onnx"
    if path.is_file():
        try:
            card = open_file(path, runtime).card
        except ValueError as error:
            log.warning("%s; it is written again", error)
        else:
            if (card.checkpoint_sha256, card.version) == (_digest(checkpoint), _version()):
                return path
    log.info("writing %s, and comparing it with the run", path)
    return write_file(loaded, path, checkpoint=checkpoint).path


def _of_first_images(config: Config, number: int) -> Config:
    """The config for some images of each part alone."""
    known = config.data.max_images
    number = number if known is None else min(known, number)
    return config.model_copy(update={"data": config.data.model_copy(update={"max_images": number})})


def _digest(checkpoint: Path) -> str:
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def _version() -> str:
    return version("van_dense")


def _write(network: Network, batch: Batch, path: Path, format: Format, card: Card) -> None:
    inputs = network.example((batch.images.shape[2], batch.images.shape[3]))
    if format == "torch":
        write_torch(network, inputs, path, card)
        return
    onnx = path.with_suffix(".onnx")
    write_onnx(network, inputs, onnx, card)
    if format == "openvino":
        write_openvino(onnx, path, card)
        onnx.unlink()


def _card(loaded: Loaded, network: Network, checkpoint: Path, licence: str) -> Card:
    config = dump_config(loaded.config)
    return Card(
        config=config,
        info=loaded.info.to_dict(),
        step=loaded.step,
        outputs=network.outputs,
        multiple=loaded.config.data.size_divisor,
        version=_version(),
        config_sha256=hashlib.sha256(config.encode()).hexdigest(),
        checkpoint_sha256=_digest(checkpoint),
        licence=licence,
    )


def _validation(loaded: Loaded) -> Iterator[Batch]:
    """Images of the validation part, one by one."""
    dataset = task_of(loaded.config).build_dataset(loaded.config, "val")
    for index in range(len(dataset)):
        yield _batch(loaded, dataset.raw(index))


def _given(loaded: Loaded, images: Sequence[str | Path]) -> Iterator[Batch]:
    for index, (_, source) in enumerate(named_sources([str(one) for one in images])):
        name = source_name(source, index)
        image = read_source(source, name)
        yield _batch(loaded, Sample(image, name, path=name, orig_size=size_of(image)))


def _batch(loaded: Loaded, sample: Sample) -> Batch:
    transform = task_of(loaded.config).build_transform(loaded.config, train=False)
    prepared = transform(sample, np.random.default_rng(0))
    return collate([prepared], loaded.config.data.size_divisor)


def _compare(
    loaded: Loaded, network: Network, path: Path, batches: Sequence[Batch], *, has_truth: bool
) -> Exported:
    opened = open_file(path)
    tolerance = TOLERANCES[opened.card.precision]
    gate = Gate(network, opened.runner(()), tolerance)
    pairs = [gate.compare(batch) for batch in batches]
    for batch in _otherwise_shaped(network, batches[0], loaded.config.data.size_divisor):
        gate.compare(batch)
    metrics: dict[str, tuple[float, float]] = {}
    if has_truth:
        name = task_of(loaded.config).best_metric(loaded.config)
        run, file = (
            _metric(loaded, name, [one for pair in pairs for one in pair[side]]) for side in (0, 1)
        )
        metrics[name] = (run, file)
        if abs(run - file) > tolerance.metric:  # NaN, where nothing is annotated, passes
            values = f"{name} is {run:.4f} with the run and {file:.4f} with the file"
            raise Drift(f"stage metric: {values}; {tolerance.metric:g} is allowed")
    return Exported(path, len(batches), gate.differences.summary(), metrics)


def _otherwise_shaped(network: Network, batch: Batch, divisor: int) -> Iterator[Batch]:
    """An image in other shapes that the file must take: with black below and beside, and twice.

    Exporters fix what they cannot keep variable to the sizes of their example, without a word.
    """
    if network.takes_any_size:
        images = F.pad(batch.images, (0, divisor, 0, 2 * divisor))
        yield replace(batch, images=images, sizes=[(images.shape[2], images.shape[3])])
    if network.takes_batches:
        yield replace(
            batch,
            images=batch.images.repeat(2, 1, 1, 1),
            sizes=[*batch.sizes] * 2,
            orig_sizes=[*batch.orig_sizes] * 2,
            image_ids=[*batch.image_ids] * 2,
        )


def _metric(loaded: Loaded, name: str, predictions: list[Prediction]) -> float:
    task = task_of(loaded.config)
    dataset = task.build_dataset(loaded.config, "val")
    evaluator = task.evaluator_factory(dataset, loaded.config)()
    evaluator.update(predictions)
    return evaluator.compute()[name]
