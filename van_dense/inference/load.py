"""Load a trained run, ready to predict."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from van_dense.config.engine import has_detectron2
from van_dense.config.load import RawConfig, validate
from van_dense.config.migrations import migrate
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.parse import parse_yaml
from van_dense.deploy.file_model import FileModel
from van_dense.deploy.formats import RUNTIMES
from van_dense.deploy.networks import network_of
from van_dense.deploy.runtime import open_file
from van_dense.engine.checkpoint import choose_checkpoint, load_checkpoint
from van_dense.inference.export import exported_file
from van_dense.inference.loaded import Loaded
from van_dense.tasks.build import build_model

log = logging.getLogger(__name__)


def load(
    run: str | Path,
    *,
    checkpoint: str = "best",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    device: str | torch.device | None = None,
    engine: str | None = None,
    runtime: str | None = None,
) -> Loaded:
    """Load a trained run: averaged weights if the run kept some, in evaluation mode.

    On a CPU, predictions come from ``Loaded.network``, a copy that is faster and equal within 1e-4.

    Args:
        run: Run folder, checkpoint file, or a file that ``van-dense export`` wrote (.onnx, .xml);
            nothing else is needed.
        checkpoint: "best", "last" or a file.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them.
        device: A GPU where there is one, otherwise the CPU.
        engine: Instead of the one that a detector was trained on; other tasks have none.
        runtime: "onnxruntime" or "openvino": what runs an exported file, by default one that is
            installed. A run is exported for it once, into its folder ``exports``.

    Raises:
        ValueError: When there is no checkpoint, or when it does not fit the config.
    """
    if Path(run).suffix in RUNTIMES:
        return _load_file(Path(run), runtime, fragments, overrides)
    path = choose_checkpoint(run, checkpoint)
    state = load_checkpoint(path)
    raw = RawConfig()
    raw.merge(state["config"], str(path))
    trained_on = raw.values["model"].get("engine")
    if engine is None and trained_on == "detectron2" and not has_detectron2():
        log.warning("%s was trained on Detectron2, which is missing: engine torchvision", path)
        engine = "torchvision"  # the same network
    if engine is not None and trained_on is not None:
        raw.merge({"model": {"engine": engine}}, "load")
    for fragment in fragments:
        raw.merge_file(fragment)
    raw.override(overrides)
    if raw.values["model"]["backbone"]["norm_mode"] == "sync":  # trains on GPUs only; same results
        raw.merge({"model": {"backbone": {"norm_mode": "batch"}}}, "load")
    config = validate(raw)
    info = DatasetInfo.from_dict(state["info"])
    model = build_model(config, info)
    try:
        model.load_state_dict(state["ema"] or state["model"])
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its model after the overrides: {error}") from error
    target = _device(device if runtime is None else "cpu")
    # Detectron2 has layers of its own, which nobody has measured.
    fast = getattr(config.model, "engine", None) != "detectron2"
    loaded = Loaded(model.to(target).eval(), config, info, state["step"], target, fast)
    if runtime is None:
        return loaded
    return _load_file(exported_file(loaded, path, runtime), runtime, fragments, overrides)


def _load_file(
    path: Path, runtime: str | None, fragments: Sequence[str | Path], overrides: Sequence[str]
) -> Loaded:
    """Load an exported file, whose card says everything beside the numbers."""
    opened = open_file(path, runtime)
    card = opened.card
    raw = RawConfig()
    stored = parse_yaml(card.config, f"config of {path}", is_file=False)
    raw.merge(migrate(stored.values), str(path))
    for fragment in fragments:
        raw.merge_file(fragment)
    raw.override(overrides)
    config, info = validate(raw), card.dataset_info()
    with torch.device("meta"):  # the file has the weights
        network = network_of(build_model(config, info)).eval()
    model = FileModel(network, partial(opened.runner, network.needed)).eval()
    return Loaded(model, config, info, card.step, torch.device("cpu"))


def _device(name: str | torch.device | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(
            f"device {name!r} is none that PyTorch knows; use cpu or cuda:0"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: PyTorch sees no GPU here; use cpu")
    return device
