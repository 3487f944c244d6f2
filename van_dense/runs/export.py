"""Export a trained run."""

from collections.abc import Sequence
from pathlib import Path

from van_dense.deploy.formats import Format
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.inference.export import IMAGES, Exported, write_file
from van_dense.inference.load import load


def export_run(
    run: str | Path,
    output: str | Path,
    *,
    format: Format = "onnx",
    checkpoint: str = "best",
    images: Sequence[str | Path] = (),
    num_images: int = IMAGES,
    licence: str = "not stated",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
) -> Exported:
    """Write a trained run for ONNX Runtime, OpenVINO or ``torch.export``; see ``write_file``.

    Args:
        run: Run folder or checkpoint file.
        output: File to write, ending in .onnx, .xml or .pt2 as the format asks.
        format: "onnx", "openvino" (.xml, with a .bin beside it) or "torch".
        checkpoint: "best", "last" or a file.
        images: Images to compare with, in place of some of the validation part; no metric then.
        num_images: Number of validation images to compare with.
        licence: Licence of the weights, to be stated in the file.
        fragments: YAML files laid over the stored config.
        overrides: ``key.path=value`` on top of them.

    Raises:
        Drift: When file and run differ.
        ValueError: When the model cannot be exported, or there is nothing to compare with.
    """
    path = choose_checkpoint(run, checkpoint)
    loaded = load(path, fragments=fragments, overrides=overrides, device="cpu")
    return write_file(
        loaded,
        output,
        checkpoint=path,
        format=format,
        images=images,
        num_images=num_images,
        licence=licence,
    )
