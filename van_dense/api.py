"""The public names, from where they live."""

from van_dense.config import load_config
from van_dense.inference.load import load
from van_dense.inference.loaded import Loaded, proposals_from
from van_dense.runs.scoring import evaluate_run, evaluate_weights
from van_dense.runs.training import train_and_load as train
from van_dense.tasks.build import build_model

__all__ = [
    "Loaded",
    "build_model",
    "evaluate_run",
    "evaluate_weights",
    "load",
    "load_config",
    "proposals_from",
    "train",
]
