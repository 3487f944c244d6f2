"""Write a trained run as a file of another runtime, and compare both before it gets its name."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from van_dense.backbones.unireplknet import merged_copy
from van_dense.config import dump_config
from van_dense.config.load import validate
from van_dense.core.digest import sha256_of
from van_dense.core.optional import require
from van_dense.deploy.card import Card
from van_dense.deploy.formats import PRECISIONS, RUNTIMES, SUFFIXES, Format, Precision
from van_dense.deploy.network import Network, Run
from van_dense.deploy.networks import network_of
from van_dense.deploy.quantise import Inputs, Quantiser
from van_dense.deploy.runtime import choose_runtime, open_file
from van_dense.deploy.write import (
    check_place,
    copy_onnx,
    files_of,
    into_place,
    stamp,
    write_onnx,
    write_openvino,
    write_torch,
)
from van_dense.inference.comparison import Compared, Comparison, Measured
from van_dense.inference.file_config import baked_in, config_in
from van_dense.inference.loaded import Loaded
from van_dense.inference.quantisation import calibration_inputs, write_int8
from van_dense.tasks import task_of

log = logging.getLogger(__name__)

IMAGES = 8  # of the validation part that are compared
NO_LICENCE = "not stated"
CALIBRATION = 32  # images of the training part that int8 is calibrated with


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what was seen of it.

    Attributes:
        path: The file.
        files: All that were written: it, and those that it names, such as OpenVINO's .bin.
        compared: What the gate saw; None for a program of ``torch.export``, which is not compared.
        measured: Metric and time of the run and of the file in each precision, but for fp32.
        float_layers: Names of the layers of an int8 file that stayed in float32.
    """

    path: Path
    compared: Compared | None
    measured: Sequence[Measured] = ()
    float_layers: Sequence[str] = ()
    files: Sequence[Path] = ()

    def to_dict(self) -> dict[str, Any]:
        """What was seen, as JSON can hold it."""
        values = asdict(self)
        del values["path"], values["files"]
        return values


def write_file(
    loaded: Loaded,
    output: str | Path,
    *,
    checkpoint: Path,
    format: Format = "onnx",
    precision: Precision = "fp32",
    images: Sequence[str | Path] = (),
    num_images: int = IMAGES,
    num_calibration: int = CALIBRATION,
    licence: str = NO_LICENCE,
) -> Exported:
    """Write a loaded run for ONNX Runtime, OpenVINO or ``torch.export``.

    The file is opened again in its runtime and compared with the run, see ``Gate``; one that
    differs is not left behind.

    Args:
        loaded: The run, on the CPU.
        output: File to write, ending as the format asks (``SUFFIXES``).
        checkpoint: File that the run was loaded from.
        format: "onnx", "openvino" (.xml, with a .bin beside it) or "torch".
        precision: What the file computes in: "fp32", "int8", or of openvino "bf16".
        images: Images to compare with, in place of some of the validation part; no metric then.
        num_images: Number of validation images to compare with. All are kept in memory, prepared:
            about 3 MB for one of 1024 x 1024 pixels.
        num_calibration: Number of training images that give the ranges of int8.
        licence: Licence of the weights, to be stated in the file.

    Raises:
        Drift: When file and run differ.
        OSError: When no file can be put there.
        ValueError: When the model cannot be exported, there is nothing to compare with, or the
            format has no such precision.
    """
    path = Path(output)
    if path.suffix != SUFFIXES[format]:
        raise ValueError(f"{path}: a file of format {format} must end in {SUFFIXES[format]}")
    if precision not in PRECISIONS[format]:
        known = " or ".join(PRECISIONS[format])
        raise ValueError(f"files of format {format} are {known}, not {precision}")
    check_place(path)
    network = network_of(merged_copy(loaded.model)).eval()
    card = _card(loaded, network, checkpoint, licence, precision)
    comparison = Comparison(loaded, network, images, num_images)
    with into_place(path) as written:
        if format == "torch":
            write_torch(network, _example(comparison), written, card)
            done = Exported(path, None)
        else:
            done = _write_compared(comparison, card, written, num_calibration)
        files = [path.with_name(file.name) for file in files_of(written)]
    return replace(done, path=path, files=files)


def _write_compared(
    comparison: Comparison, card: Card, written: Path, num_calibration: int
) -> Exported:
    network, folder = comparison.network, written.parent.parent
    inputs: Sequence[Inputs] = ()
    if card.precision == "int8":  # first of all, for there may be no images to calibrate with
        inputs = calibration_inputs(comparison.loaded, network, num_calibration)
    source = folder / "float" / f"{written.stem}.onnx"  # names its weights
    source.parent.mkdir()
    write_onnx(network, _example(comparison), source, replace(card, precision="fp32"))

    def finish(onnx: Path) -> Path:
        if written.suffix == ".xml":
            write_openvino(onnx, written, card)
        else:
            copy_onnx(onnx, written)
            stamp(written, card)
        return written

    kept: list[str] = []
    if card.precision == "int8":
        integer_outputs = written.suffix == ".onnx"
        quantiser = Quantiser(source, folder, inputs, integer_outputs=integer_outputs)
        compared, kept = write_int8(quantiser, comparison, folder, finish)
    else:
        compared = comparison.check(finish(source))
    done = Exported(written, compared, float_layers=kept)
    if card.precision != "fp32":
        done = replace(done, measured=comparison.measure(_ways(comparison, source, written, card)))
    stamp(written, replace(card, measured=done.to_dict()))
    return done


def _ways(
    comparison: Comparison, source: Path, written: Path, card: Card
) -> dict[tuple[str, str], Run]:
    """How the file can be run, and the same in float32, in every installed runtime."""
    needed = comparison.network.needed
    ways: dict[tuple[str, str], Run] = {}
    for runtime in RUNTIMES[written.suffix]:
        if find_spec(runtime) is None:
            continue
        plain = open_file(source, runtime)
        ways[runtime, "fp32"] = plain.runner(needed)
        if runtime == "openvino":
            ways[runtime, "bf16"] = plain.runner(needed, "bf16")
        if card.precision == "int8":
            ways[runtime, "int8"] = open_file(written, runtime).runner(needed)
    return ways


def _example(comparison: Comparison) -> dict[str, Tensor]:
    images = comparison.batches[0].images
    return comparison.network.example((images.shape[2], images.shape[3]))


def export_path(
    checkpoint: Path,
    *,
    format: Format = "onnx",
    precision: Precision = "fp32",
    is_backbone: bool = False,
) -> Path:
    """Where the file of a checkpoint is unless another place is named: in ``exports/`` of its run.

    Args:
        checkpoint: File, under the name that the export is named after, such as ``best.pt``.
        format: As ``write_file`` takes it.
        precision: As ``write_file`` takes it.
        is_backbone: Whether it is the backbone alone.
    """
    folder = checkpoint.parent
    run = folder.parent if folder.name == "checkpoints" else folder
    kinds = ["backbone"] if is_backbone else []
    kinds += [precision] if precision != "fp32" else []
    return run / "exports" / ("_".join([checkpoint.stem, *kinds]) + SUFFIXES[format])


def exported_file(loaded: Loaded, checkpoint: Path, runtime: str) -> Path:
    """The file of a run for a runtime, in ``exports/`` beside its checkpoints.

    It is written once, and again when checkpoint, van_dense, or what of the config is inside the
    file have changed; the licence that the earlier one states stays.

    Args:
        loaded: The run, on the CPU.
        checkpoint: File that the run was loaded from.
        runtime: "onnxruntime" or "openvino".

    Raises:
        OSError: When the file is to be written, and its folder cannot be.
        ValueError: For another runtime, and for one that is not installed; as ``write_file`` does.
    """
    path = export_path(checkpoint)
    require(choose_runtime(path, runtime), f"running a file in {runtime}")
    licence = NO_LICENCE
    if path.is_file():
        try:
            card = open_file(path, runtime).card
            licence = card.licence
            if _is_of(card, path, loaded, checkpoint):
                return path
        except ValueError as error:
            log.warning("%s; it is written again", error)
    _check_writable(path.parent)
    log.info("writing %s, and comparing it with the run", path)
    return write_file(loaded, path, checkpoint=checkpoint, licence=licence).path


def _is_of(card: Card, path: Path, loaded: Loaded, checkpoint: Path) -> bool:
    """Whether a file computes what one that were written now would."""
    found = (card.checkpoint_sha256, card.version, card.precision)
    if found != (sha256_of(checkpoint), _version(), "fp32"):
        return False
    network, stored = network_of(loaded.model), validate(config_in(card, path))
    return baked_in(stored, network) == baked_in(loaded.config, network)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):
            pass
    except OSError as error:
        need = f"{folder} cannot be written ({error.strerror}), where a run keeps its exported file"
        fix = "export it to another place, van-dense export RUN --output FILE.onnx, and load that"
        raise OSError(f"{need}; {fix} file") from error


def _digest_of(config: str) -> str:
    return hashlib.sha256(config.encode()).hexdigest()


def _version() -> str:
    return version("van_dense")


def _card(
    loaded: Loaded, network: Network, checkpoint: Path, licence: str, precision: Precision
) -> Card:
    config = dump_config(loaded.config)
    return Card(
        config=config,
        info=loaded.info.to_dict(),
        step=loaded.step,
        outputs=network.outputs,
        multiple=task_of(loaded.config).multiple(loaded.config),
        version=_version(),
        config_sha256=_digest_of(config),
        checkpoint_sha256=sha256_of(checkpoint),
        licence=licence,
        precision=precision,
    )
