"""Write a network as ONNX, as OpenVINO's two files, or as a program of ``torch.export``."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer_sam import Attention as SamAttention
from torch import Tensor, nn

from van_dense.core.attributes import attribute_set
from van_dense.core.optional import require
from van_dense.core.quiet import errors_only
from van_dense.core.writing import check_replaceable
from van_dense.deploy.card import KEY, Card
from van_dense.deploy.network import Network
from van_dense.deploy.runtime import openvino_core
from van_dense.deploy.same_padding import with_constant_padding


def write_onnx(network: Network, inputs: Mapping[str, Tensor], path: Path, card: Card) -> None:
    """Write an ONNX file of the weights, with the card in its metadata.

    Sources and stack traces of this machine, which the exporter notes at every node, are left out.

    Args:
        network: Network in evaluation mode.
        inputs: Inputs of ``network.forward`` by name; any sizes that it takes.
        path: File to write. Weights of more than 1.5 GiB go to a second one, ``weights_beside``.
        card: What the file says of itself.
    """
    require("onnx", "writing ONNX")
    require("onnxscript", "writing ONNX")
    from van_dense.deploy.onnx_ops import OPSET, TRANSLATIONS

    network = with_constant_padding(network)
    with quiet(), torch.no_grad(), plain_attention(network):
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=network.dynamic_shapes(),
            input_names=list(inputs),
            output_names=list(network.outputs),
            opset_version=OPSET,
            custom_translation_table=TRANSLATIONS,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: Any = program.model
    remove_traces(model)
    model.metadata_props[KEY] = card.dumps()
    model.doc_string = f"{network.model.__class__.__name__}, exported by van_dense {card.version}"
    program.save(str(path))


def weights_beside(path: Path) -> Path:
    """Where PyTorch's exporter puts weights that are too large for the ONNX file at ``path``."""
    return path.with_name(f"{path.name}.data")


def copy_onnx(source: Path, path: Path) -> None:
    """Copy an ONNX file, and weights beside it under their own name, by which it knows them."""
    shutil.copyfile(source, path)
    weights = weights_beside(source)
    if weights.is_file():
        shutil.copyfile(weights, path.with_name(weights.name))


def check_place(path: Path) -> None:
    """OSError, before any work, where ``into_place`` could not put a file."""
    check_replaceable(path)
    if path.suffix == ".xml":
        check_replaceable(path.with_suffix(".bin"))
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise OSError(f"{above} is no folder, so {path} cannot be written; name another place")


@contextmanager
def into_place(path: Path) -> Iterator[Path]:
    """A path of the same name in an empty folder, whose files all move beside ``path`` at the end.

    Nothing moves when the block fails, so what was there stays whole. The folder above the path is
    the block's own too, and goes with what is left in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / "done" / path.name
        written.parent.mkdir()
        yield written
        for file in files_of(written):
            os.replace(file, path.with_name(file.name))


def files_of(written: Path) -> list[Path]:
    """All files in the folder of ``written``; that one, which names the others, comes last."""
    return sorted(written.parent.iterdir(), key=lambda file: (file.name == written.name, file.name))


def remove_traces(model: Any) -> None:
    """Remove what the exporter notes at every node: stack traces with paths of this machine."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def write_openvino(onnx: Path, path: Path, card: Card) -> None:
    """Convert an ONNX file to OpenVINO's .xml at ``path`` and .bin beside it, in full precision."""
    openvino = require("openvino", "writing OpenVINO files")
    _save_openvino(openvino.convert_model(str(onnx)), path, card)


def stamp(path: Path, card: Card) -> None:
    """Give an ONNX or OpenVINO file another card."""
    if path.suffix == ".xml":
        _save_openvino(openvino_core().read_model(str(path)), path, card)
        return
    onnx = require("onnx", "writing ONNX")
    file = onnx.load(str(path), load_external_data=False)
    for entry in [one for one in file.metadata_props if one.key == KEY]:
        file.metadata_props.remove(entry)
    file.metadata_props.add(key=KEY, value=card.dumps())
    onnx.save(file, str(path))


def _save_openvino(model: Any, path: Path, card: Card) -> None:
    """Write under another name first: a model that was read lies in the file's own memory."""
    model.set_rt_info(card.dumps(), KEY)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        saved = Path(folder) / path.name
        openvino = require("openvino", "writing OpenVINO files")
        openvino.save_model(model, str(saved), compress_to_fp16=False)
        for file in (saved.with_suffix(".bin"), saved):
            os.replace(file, path.with_name(file.name))


def write_torch(network: Network, inputs: Mapping[str, Tensor], path: Path, card: Card) -> None:
    """Write a program of ``torch.export``; its operators of ``deploy/ops.py`` need this package."""
    network = with_constant_padding(network)
    with quiet(), torch.no_grad(), plain_attention(network):
        shapes = network.dynamic_shapes()
        program = torch.export.export(
            network, tuple(inputs.values()), dynamic_shapes=shapes, strict=False
        )
    torch.export.save(program, path, extra_files={f"{KEY}.json": card.dumps()})


def plain_attention(network: nn.Module) -> AbstractContextManager[None]:
    """The attention of SAM in matrix products; its fused one takes shapes that ONNX does not."""
    parts = [part for part in network.modules() if isinstance(part, SamAttention)]
    return attribute_set(parts, "fused_attn", False)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's lines about what it knows not to be a problem."""
    with errors_only("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
