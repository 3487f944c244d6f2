"""Checkpoint files: whole or absent, checked before use."""

import os

import numpy as np
import pytest
import torch

from van_dense.config.migrations import VERSION
from van_dense.engine import checkpoint
from van_dense.engine.checkpoint import (
    best_path,
    changed_keys,
    checkpoint_path,
    checkpoints,
    is_intact,
    keep_last,
    latest_intact,
    load_checkpoint,
    mark_best,
    save_checkpoint,
)
from van_dense.engine.checksum import checksum


def save_steps(run_dir, *steps):
    for step in steps:
        save_checkpoint(checkpoint_path(run_dir, step), {"step": step, "w": torch.ones(5000)})


def flip_a_byte(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    state = {"w": torch.randn(3), "config": {"lr": 1e-4, "sides": [1, 2]}, "betas": (0.9, 0.99)}
    save_checkpoint(tmp_path / "a.pt", state)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(loaded.pop("w"), state.pop("w"))
    assert loaded == {"format": checkpoint.FORMAT, **state}


def test_a_torn_or_corrupt_file_is_found(tmp_path):
    save_steps(tmp_path, 1)
    path = checkpoint_path(tmp_path, 1)
    whole = path.read_bytes()
    assert is_intact(path)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not is_intact(path), length
    path.write_bytes(whole)
    flip_a_byte(path, len(whole) // 2)  # inside the tensor
    assert not is_intact(path)
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(path)


def damaged(whole, rng, count):
    """Copies with one flipped bit each, then copies with a page of zeros."""
    for position in rng.integers(0, 8 * len(whole), count).tolist():
        data = bytearray(whole)
        data[position // 8] ^= 1 << position % 8
        yield data
    for start in range(0, len(whole), 4096):
        data = bytearray(whole)
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
        yield data


def test_damage_is_noticed_or_harmless(tmp_path):
    """No bit and no page changes what is read: the directory of the archive has no checksum."""
    path = tmp_path / "a.pt"
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]}
    state = {"w": torch.randn(300), "n": {f"k{i}": torch.ones(i) for i in range(9)}, "o": optimizer}
    save_checkpoint(path, state)
    loaded, whole = checksum(load_checkpoint(path)), path.read_bytes()
    noticed = 0
    for data in damaged(whole, np.random.default_rng(0), 500):
        path.write_bytes(data)
        try:
            assert checksum(load_checkpoint(path)) == loaded
        except ValueError as error:
            assert str(path) in str(error)
            noticed += 1
    assert noticed > 300  # the others lie in padding and in copies of the directory's entries


def test_pickled_objects_are_refused(tmp_path):
    torch.save({"format": 1, "x": pytest.approx}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds Python objects, which would have to run code"):
        load_checkpoint(tmp_path / "a.pt")


def test_another_format_is_an_error(tmp_path):
    torch.save({"model": {}}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="is no checkpoint of van_dense"):
        load_checkpoint(tmp_path / "a.pt")
    torch.save({"format": checkpoint.FORMAT + 1}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"of a newer version, format .*; update van_dense"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_checkpoint_of_the_first_format_passes_through_every_migration(tmp_path):
    old = {"format": 1, "step": 2, "config": {"data": {"max_bad_share": 0.5}}}
    torch.save(old, tmp_path / "a.pt")
    new = {"format": checkpoint.FORMAT, "step": 2, "config": {"data": {"max_bad_fraction": 0.5}}}
    new |= {"position": {"step": 2, "batch_size": None}, "streams": 1}
    assert load_checkpoint(tmp_path / "a.pt") == new


def test_the_config_in_a_checkpoint_says_its_version(tmp_path):
    save_checkpoint(tmp_path / "a.pt", {"config": {"seed": 1}})
    stored = torch.load(tmp_path / "a.pt", weights_only=True)
    assert stored["config"] == {"version": VERSION, "seed": 1}
    newer = {"format": stored["format"], "config": {"version": VERSION + 1}}
    torch.save({**newer, "checksum": checksum(newer)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a.pt: .* version {VERSION + 1}.*update van_dense"):
        load_checkpoint(tmp_path / "a.pt")


def test_the_one_before_a_damaged_checkpoint_is_used(tmp_path, caplog):
    save_steps(tmp_path, 5, 10, 100_000_000)
    assert latest_intact(tmp_path) == checkpoint_path(tmp_path, 100_000_000)
    flip_a_byte(checkpoint_path(tmp_path, 100_000_000), 9000)
    assert latest_intact(tmp_path) == checkpoint_path(tmp_path, 10)
    assert "step_100000000.pt is damaged" in caplog.text


def test_without_checkpoints_there_is_no_latest(tmp_path):
    assert latest_intact(tmp_path) is None


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_steps(tmp_path, 1)
    before = checkpoint_path(tmp_path, 1).read_bytes()

    def fail(state, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(OSError, match=r"step_00000001.pt cannot be written: disk full"):
        save_steps(tmp_path, 1)
    assert checkpoint_path(tmp_path, 1).read_bytes() == before
    assert list((tmp_path / "checkpoints").iterdir()) == [checkpoint_path(tmp_path, 1)]


def test_a_damaged_checkpoint_names_a_sound_one(tmp_path):
    save_steps(tmp_path, 1, 2)
    mark_best(tmp_path, 2)
    flip_a_byte(checkpoint_path(tmp_path, 2), 9000)
    sound = checkpoint_path(tmp_path, 1)
    with pytest.raises(ValueError, match=rf"best.pt is damaged.*; {sound} is sound"):
        load_checkpoint(best_path(tmp_path))


def test_no_more_files_are_read_than_until_a_sound_one(tmp_path, monkeypatch):
    save_steps(tmp_path, 1, 2, 3)
    flip_a_byte(checkpoint_path(tmp_path, 3), 9000)
    tried = []
    monkeypatch.setattr(checkpoint, "is_intact", lambda p: tried.append(p) or is_intact(p))
    with pytest.raises(ValueError, match=rf"; {checkpoint_path(tmp_path, 2)} is sound"):
        load_checkpoint(checkpoint_path(tmp_path, 3))
    assert checkpoint_path(tmp_path, 1) not in tried


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.nn.Linear(2, 2), "holds Python objects"),
        ({"model": torch.nn.Linear(2, 2), "epoch": 3}, "holds Python objects"),
        ([torch.zeros(2)], "it holds a list instead of a network with its config"),
        (torch.zeros(2), "it holds a Tensor instead of a network with its config"),
        ({"a": torch.zeros(2)}, "is no checkpoint of van_dense"),
    ],
)
def test_what_other_programs_save_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=words):
        load_checkpoint(tmp_path / "a.pt")


def test_a_page_of_the_web_is_no_checkpoint(tmp_path):
    (tmp_path / "a.pt").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="or no file that torch"):
        load_checkpoint(tmp_path / "a.pt")


def test_old_checkpoints_go_and_the_best_stays(tmp_path):
    save_steps(tmp_path, 1, 2, 3)
    mark_best(tmp_path, 1)
    keep_last(tmp_path, 2)
    assert [p.name for p in checkpoints(tmp_path)] == ["step_00000002.pt", "step_00000003.pt"]
    assert load_checkpoint(best_path(tmp_path))["step"] == 1
    mark_best(tmp_path, 3)
    assert load_checkpoint(best_path(tmp_path))["step"] == 3


def test_without_hard_links_the_best_is_a_copy(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", fail)
    save_steps(tmp_path, 1)
    mark_best(tmp_path, 1)
    assert load_checkpoint(best_path(tmp_path))["step"] == 1


def test_changes_of_a_configuration_are_listed():
    old = {"seed": 1, "train": {"lr": 1e-4, "steps": 10}}
    new = {"seed": 1, "train": {"lr": 2e-4, "steps": 10, "clip_norm": 1.0}}
    assert changed_keys(old, new) == ["train.clip_norm: None -> 1.0", "train.lr: 0.0001 -> 0.0002"]
