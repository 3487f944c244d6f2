"""Load a trained run, ready to predict."""

import logging
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import torch

from van_dense.config import Config
from van_dense.config.engine import has_detectron2
from van_dense.config.load import RawConfig, leaves, validate
from van_dense.core.dataset_info import DatasetInfo
from van_dense.deploy.file_model import file_model
from van_dense.deploy.formats import RUNTIMES
from van_dense.deploy.networks import network_of
from van_dense.deploy.runtime import OpenFile, open_file
from van_dense.engine.checkpoint import State, choose_checkpoint, load_checkpoint
from van_dense.inference.export import exported_file
from van_dense.inference.file_config import config_in
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
        checkpoint: "best", "last" or a file; an exported file holds one alone.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them; those of an exported file leave ``model``
            as it is.
        device: A GPU where there is one, otherwise the CPU; exported files run on the CPU.
        engine: Instead of the one that a detector was trained on; other tasks have none.
        runtime: "onnxruntime" or "openvino": what runs an exported file, by default one that is
            installed. A run is exported for it once, into its folder ``exports``.

    Raises:
        ValueError: When there is no checkpoint, when it does not fit the config, or when an
            exported file cannot do what is asked for.
    """
    if Path(run).suffix in RUNTIMES:
        _check_is_cpu(device, str(run))
        _check_has_one(run, checkpoint)
        opened = open_file(run, runtime)
        raw = config_in(opened.card, run)
        _lay_over(raw, engine, fragments, overrides)
        return _of_file(opened, run, validate(raw))
    if runtime is not None:
        _check_is_cpu(device, f"runtime {runtime!r}")
    path = choose_checkpoint(run, checkpoint)
    state = load_checkpoint(path)
    raw = RawConfig()
    raw.merge(state["config"], str(path))
    trained_on = raw.values["model"].get("engine")
    if engine is None and trained_on == "detectron2" and not has_detectron2():
        log.warning("%s was trained on Detectron2, which is missing: engine torchvision", path)
        engine = "torchvision"  # the same network
    _lay_over(raw, engine, fragments, overrides)
    if raw.values["model"]["backbone"]["norm_mode"] == "sync":  # trains on GPUs only; same results
        raw.merge({"model": {"backbone": {"norm_mode": "batch"}}}, "load")
    loaded = _of_state(state, path, validate(raw), _device(device if runtime is None else "cpu"))
    if runtime is None:
        return loaded
    file = exported_file(loaded, path, runtime)
    return _of_file(open_file(file, runtime), file, loaded.config)


def file_of(run: str | Path, checkpoint: str = "best") -> Path:
    """The checkpoint, or the exported file, that ``load`` reads."""
    return Path(run) if Path(run).suffix in RUNTIMES else choose_checkpoint(run, checkpoint)


def _of_state(state: State, path: Path, config: Config, device: torch.device) -> Loaded:
    """The network of a checkpoint, else ValueError that names its ``path``."""
    info = DatasetInfo.from_dict(state["info"])
    model = build_model(config, info)
    try:
        model.load_state_dict(state["ema"] or state["model"])
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its model after the overrides: {error}") from error
    # Detectron2 has layers of its own, which nobody has measured.
    fast = getattr(config.model, "engine", None) != "detectron2"
    return Loaded(model.to(device).eval(), config, info, state["step"], device, fast)


def _lay_over(
    raw: RawConfig,
    engine: str | None,
    fragments: Sequence[str | Path],
    overrides: Sequence[str],
) -> None:
    """Lay what the caller asks for over a stored config."""
    if engine is not None and raw.values["model"].get("engine") is not None:
        raw.merge({"model": {"engine": engine}}, "load")
    for fragment in fragments:
        raw.merge_file(fragment)
    raw.override(overrides)


def _of_file(opened: OpenFile, path: str | Path, config: Config) -> Loaded:
    """An exported file, used with a config whose model is that of its card, else ValueError."""
    inside = dict(leaves(validate(config_in(opened.card, path)).model.model_dump()))
    wanted = dict(leaves(config.model.model_dump()))
    changed = [key for key in inside | wanted if inside.get(key) != wanted.get(key)]
    if changed:
        values = ", ".join(f"model.{key}={wanted.get(key)}" for key in changed[:3])
        raise ValueError(
            f"{path}: the file has its model inside, so {values} cannot be followed; export the "
            "run again with that, or load the run"
        )
    info = opened.card.dataset_info()
    with torch.device("meta"):  # the file has the weights
        network = network_of(build_model(config, info)).eval()
    # A runtime takes seconds to prepare a precision.
    model = file_model(network, cache(partial(opened.runner, network.needed))).eval()
    return Loaded(model, config, info, opened.card.step, torch.device("cpu"))


def _check_has_one(path: str | Path, checkpoint: str) -> None:
    if checkpoint != "best":
        raise ValueError(
            f"{path}: the file has its model inside, so checkpoint {checkpoint!r} cannot be "
            "chosen; export that checkpoint, or load the run"
        )


def _check_is_cpu(device: str | torch.device | None, what: str) -> None:
    if device is not None and _device(device).type != "cpu":
        raise ValueError(
            f"{what}: exported files run on the CPU, not on device {str(device)!r}; leave it out, "
            "or load the run without a runtime"
        )


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
