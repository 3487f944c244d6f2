"""The network of a config."""

from __future__ import annotations

from van_dense.config import Config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import TASKS


def build_model(config: Config, info: DatasetInfo | None = None) -> DenseModel:
    """Build the network of a config, with random weights.

    Args:
        config: From ``load_config``.
        info: Classes of the data set; by default those the config names, or COCO's 80.
    """
    task = TASKS[config.task]
    return task.build_model(config, info or task.dataset_info(config))
