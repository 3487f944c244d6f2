"""Configuration: the schema with every default, and the loader of project files. No torch."""

from van_dense.config.load import ConfigError, dump_config, load_config
from van_dense.config.tasks import Config

__all__ = ["Config", "ConfigError", "dump_config", "load_config"]
