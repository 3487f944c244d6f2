"""A run folder whose config.yaml is gone is answered from its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from van_dense.config import load_config
from van_dense.config.ready import lacks_config
from van_dense.engine.checkpoint import checkpoint_path, save_checkpoint
from van_dense.runs.training import restore_config

PROJECT = Path(__file__).resolve().parents[2] / "projects" / "quickstart.yaml"


@pytest.mark.parametrize("content", [None, ""])
def test_it_is_written_again(tmp_path: Path, content: str | None) -> None:
    config = load_config(PROJECT, ["train.steps=7", "train.epochs=null"])
    save_checkpoint(checkpoint_path(tmp_path, 7), {"config": config.model_dump(mode="json")})
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    assert lacks_config(file)
    restore_config(tmp_path)
    assert not lacks_config(file)
    assert load_config(file) == config


def test_other_configs_are_not_touched(tmp_path: Path) -> None:
    assert not lacks_config(tmp_path / "config.yaml"), "no run lies there"
    (tmp_path / "checkpoints").mkdir()
    assert not lacks_config(tmp_path / "mine.yaml")
    restore_config(tmp_path)
    assert not (tmp_path / "config.yaml").exists()
