"""The config of a training that can start now: what ``van-dense train`` and Python read alike."""

from collections.abc import Sequence
from pathlib import Path

from van_dense.config.files import missing_data
from van_dense.config.load import ConfigError, RawConfig, load_config, validate
from van_dense.config.tasks import Config


def ready_config(
    source: Config | str | Path, overrides: Sequence[str] = (), *, sample: bool = False
) -> Config:
    """Load a project as ``load_config``; ConfigError also where its data are not there.

    Args:
        source: YAML file, name of a packaged project, or a config that is loaded already.
        overrides: ``key.path=value`` strings, laid over either.
        sample: Lay the settings of the generated sample data set over a project, not over a config.
    """
    if isinstance(source, str | Path):
        config = load_config(source, overrides, sample=sample)
    elif sample:
        raise ConfigError("sample lays over a project: load the config with it")
    else:
        raw = RawConfig()
        raw.merge(source.model_dump(mode="json"), "the config")
        raw.override(overrides)
        config = validate(raw)
    if missing := missing_data(config):
        raise ConfigError(missing)
    return config


def lacks_config(path: Path) -> bool:
    """Whether the config of a run folder with checkpoints is gone or empty."""
    is_gone = not path.exists() or path.stat().st_size == 0
    return path.name == "config.yaml" and is_gone and (path.parent / "checkpoints").is_dir()
