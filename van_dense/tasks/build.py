"""The network of a config, and the weights that the config names."""

import logging
from pathlib import Path

from van_dense.backbones.weights import LoadReport, load_pretrained, stated_statistics
from van_dense.config import Config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import task_of
from van_dense.tasks.backbone import pixel_statistics

log = logging.getLogger(__name__)


def build_model(config: Config, info: DatasetInfo | None = None) -> DenseModel:
    """Build the network of a config, with random weights.

    ``info`` has the classes of the data set; by default those the config names, or COCO's 80.
    """
    task = task_of(config)
    return task.build_model(config, info or task.dataset_info(config))


def with_statistics(config: Config) -> Config:
    """The config with the statistics of its backbone written out, as its weights state them.

    A checkpoint of ours states some, and so do published weights for a classifier: in other tasks
    VAN has those of its recipes. For the rest timm's name of the backbone decides.
    """
    backbone = config.model.backbone
    if backbone.mean is not None and backbone.std is not None:
        return config
    stated = None
    if backbone.weights is not None:
        classifies = task_of(config).backbone_is_model
        stated = stated_statistics(_file_of(backbone.weights), classifies)
    found = stated or pixel_statistics(backbone)
    written = {"mean": backbone.mean or found.mean, "std": backbone.std or found.std}
    backbone = backbone.model_copy(update=written)
    return config.model_copy(
        update={"model": config.model.model_copy(update={"backbone": backbone})}
    )


def _file_of(source: str) -> str:
    """The checkpoint of a run folder; what is none stays as it is."""
    return str(choose_checkpoint(source)) if Path(source).is_dir() else source


def load_weights(model: DenseModel, config: Config) -> LoadReport | None:
    """Load the backbone weights that the config names, if it names some, and report every key.

    ValueError when they cannot be had, cannot be read, or do not fit.
    """
    source = config.model.backbone.weights
    if source is None:
        return None
    report = load_pretrained(model.backbone, _file_of(source))
    if warning := task_of(config).weights_warning(config, report):
        log.warning("%s: %s", config.model.backbone.weights, warning)
    return report
