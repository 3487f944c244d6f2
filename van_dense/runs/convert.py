"""Checkpoints of other code bases to ours and back; behind ``van-dense convert``."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from van_dense.backbones.download import fetch_weights
from van_dense.backbones.layouts import State, detect_layout, from_official, to_official, van_size
from van_dense.backbones.read import read_file, read_state
from van_dense.backbones.weights import compare
from van_dense.config import load_config
from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.io.outputs import require_file, require_free
from van_dense.engine.checkpoint import choose_checkpoint, save_checkpoint
from van_dense.inference.load import load
from van_dense.integrations.checkpoints.detectors import LAYOUTS as DETECTORS
from van_dense.integrations.checkpoints.detectors import is_foreign, to_layout, torchvision_note
from van_dense.integrations.checkpoints.detectron2_settings import detectron2_yaml
from van_dense.integrations.checkpoints.mask2former import to_transformers
from van_dense.integrations.checkpoints.mmseg import to_mmseg
from van_dense.integrations.checkpoints.openmmlab_file import foreign_file
from van_dense.tasks import task_of
from van_dense.tasks.build import build_model
from van_dense.visualize.palette import class_colors

_SEGMENTERS = ("official", "mmseg")
_LONG = 80  # characters of a setting, as of many colours, that a report shows
_SETTINGS = ".detectron2.yaml"  # of the config that lies beside weights for Detectron2


def export_weights(source: str, output: Path, layout: str) -> str:
    """Write weights in another layout, and say what was found.

    Args:
        source: File, published name or address; a run folder or checkpoint of ours where the
            layout has whole models.
        output: ``.safetensors``, or ``.pth`` with what the other code base reads beside tensors.
        layout: "official", "transformers", "mmpretrain", "mmseg", "detectron2" or "torchvision".

    Raises:
        ValueError: When the file cannot be read or the layout has no names for it.
        FileExistsError: When a file would be replaced.
    """
    beside = [output.with_suffix(_SETTINGS)] if layout == "detectron2" else []
    _require_new(output, *beside)
    path = _file_of(source)
    state = read_state(path)
    if is_foreign(state):
        raise ValueError(
            f"{source} is a detector of another code base; bring it here first, with --project, "
            "which says what network it is"
        )
    if layout in DETECTORS:
        summary, content = _whole_detector(path, layout, output)
    elif layout == "transformers" and "query_decoder.queries_features.weight" in state:
        summary, content = _whole_mask2former(path)
    elif layout in _SEGMENTERS and "decoder.conv_seg.weight" in state:
        summary, content = _whole_segmenter(path, layout)
    else:
        summary, content = _backbone(state, layout)
    tensors = {key: value.contiguous() for key, value in content.pop("state_dict").items()}
    beside = content.pop("beside", {})
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".safetensors":
        try:
            save_file(tensors, output, metadata={"format": "pt"})
        except SafetensorError as error:
            output.unlink(missing_ok=True)
            raise OSError(f"{output} cannot be written: {error}") from error
    elif layout == "torchvision":
        _save(tensors, output)  # what its load_state_dict takes
    else:
        name = "model" if layout == "detectron2" else "state_dict"  # as their own programs want
        _save({**content, name: tensors}, output)
    for file, text in beside.items():
        file.write_text(text, encoding="utf-8")
    return (
        f"{source}: {summary}\nwrote {counted(len(tensors), 'tensor')} to {output} ({layout} "
        "layout)"
    )


def _require_new(output: Path, *beside: Path) -> None:
    require_file(output)
    require_free([output, *beside], "name another file")


def _require_named_files(overrides: list[str]) -> None:
    """Annotations that are named must be there: without them the classes of the file count."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.startswith("data.") and key.endswith((".annotations", ".masks", ".images")):
            if not Path(value).exists():
                raise FileNotFoundError(f"{key}: {value} does not exist")


def _save(content: Any, output: Path) -> None:
    with open(output, "wb") as file:  # whose errors have words, which those of PyTorch's own lack
        torch.save(content, file)


def _file_of(source: str) -> Path:
    """A run's best checkpoint, what transformers saved in a folder, or any file or name."""
    if Path(source).suffix and "://" not in source and not Path(source).exists():
        raise FileNotFoundError(f"{source}: no such file")
    saved = Path(source) / "model.safetensors"
    if saved.is_file():
        return saved
    return choose_checkpoint(source) if Path(source).is_dir() else fetch_weights(source)


def _backbone(state: State, layout: str) -> tuple[str, dict[str, Any]]:
    official = to_official(state)
    summary = f"{detect_layout(state)} layout, no known VAN size"
    if size := van_size(official):
        with torch.device("meta"):  # shapes only
            summary = f"{size}, {compare(timm.create_model(size), state)[0]}"
    return summary, {"state_dict": from_official(official, layout)}


def _whole_mask2former(checkpoint: Path) -> tuple[str, dict[str, Any]]:
    summary, state, _, config = _of_a_run(checkpoint)
    no_object = config["model"]["loss"]["no_object"]
    return summary, {"state_dict": to_transformers(state, no_object=no_object)}


def _whole_segmenter(checkpoint: Path, layout: str) -> tuple[str, dict[str, Any]]:
    summary, state, info, _ = _of_a_run(checkpoint)
    # mmseg's init_segmentor (0.x) and init_model (1.x) read these, and fail without "meta".
    meta = {"CLASSES": info.class_names, "PALETTE": [list(c) for c in class_colors(info)]}
    return summary, {"meta": meta, "state_dict": to_mmseg(state, layout)}


def _whole_detector(checkpoint: Path, layout: str, output: Path) -> tuple[str, dict[str, Any]]:
    """Summary, and content with the texts of further files under ``beside``."""
    summary, state, info, config = _of_a_run(checkpoint)
    model = config["model"]
    renamed = to_layout(state, layout, settings=model, category_ids=info.category_ids)
    if layout == "torchvision":
        return f"{summary}, {torchvision_note(model, renamed)}", {"state_dict": renamed}
    file = output.with_suffix(_SETTINGS)
    beside = {file: detectron2_yaml(config, state, info, weights=str(output))}
    summary += f", for Detectron2 with the config {file}"
    return summary, {"state_dict": renamed, "beside": beside}


def _of_a_run(checkpoint: Path) -> tuple[str, State, DatasetInfo, dict[str, Any]]:
    """Summary, weights (averaged where the run kept some), classes and config."""
    loaded = load(checkpoint, device="cpu", engine="torchvision")
    summary = f"weights of step {loaded.step}, {counted(loaded.info.num_classes, 'class')}"
    return summary, loaded.model.state_dict(), loaded.info, loaded.config.model_dump(mode="json")


def import_weights(source: str, output: Path, project: str, overrides: list[str]) -> str:
    """Write a whole segmenter or detector of another code base as a checkpoint of ours.

    Args:
        source: File or address.
        output: ``.pt`` file.
        project: Project file that describes the network and its classes.
        overrides: ``key.path=value`` on top of the project.

    Raises:
        ValueError: When file and project are different networks or have different classes.
        FileExistsError: When a file would be replaced.
    """
    _require_new(output)
    _require_named_files(overrides)
    config = load_config(project, overrides)
    task = task_of(config)
    path = _file_of(source)
    file = foreign_file(read_file(path), path)
    given = {override.partition("=")[0] for override in overrides}
    found = task.foreign_settings(file, config)
    taken = [text for text in found if text.partition("=")[0] not in given]
    if taken:
        config = load_config(project, [*taken, *overrides])
    info = task.foreign_info(file, config)
    model = build_model(config, info)
    report = task.load_foreign(model, file, config, info)
    report += f"\n{counted(info.num_classes, 'class')}: {shorten(info.class_names, 8)}"
    if taken:
        shown = (text if len(text) <= _LONG else f"{text[:_LONG]}..." for text in taken)
        report += f"\nsettings of the file: {', '.join(shown)}"
    content = {"step": 0, "model": model.state_dict(), "ema": None, "info": info.to_dict()}
    save_checkpoint(output, {**content, "config": config.model_dump(mode="json")})
    return f"{source}: {report}\nwrote {output}, for van_dense.load and van-dense eval"
