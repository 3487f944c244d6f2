"""The network of a config, and the weights that the config names."""

import logging
from pathlib import Path

from van_dense.backbones.weights import LoadReport, load_pretrained
from van_dense.config import Config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import task_of

log = logging.getLogger(__name__)


def build_model(config: Config, info: DatasetInfo | None = None) -> DenseModel:
    """Build the network of a config, with random weights.

    ``info`` has the classes of the data set; by default those the config names, or COCO's 80.
    """
    task = task_of(config)
    return task.build_model(config, info or task.dataset_info(config))


def load_weights(model: DenseModel, config: Config) -> LoadReport | None:
    """Load the backbone weights that the config names, if it names some, and report every key.

    ValueError when they cannot be had, cannot be read, or do not fit.
    """
    source = config.model.backbone.weights
    if source is None:
        return None
    if Path(source).is_dir():
        source = str(choose_checkpoint(source))
    report = load_pretrained(model.backbone, source)
    if warning := task_of(config).weights_warning(config, report):
        log.warning("%s: %s", config.model.backbone.weights, warning)
    return report
