"""One process at a time trains in a run folder."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from van_dense.engine.lock import RunLock

pytest.importorskip("fcntl", reason="the system has no such locks")


def test_a_second_owner_is_refused_with_the_first_one_named(tmp_path):
    with (
        RunLock(tmp_path, enabled=True),
        pytest.raises(ValueError, match=rf"another process works there \(process {os.getpid()}\)"),
        RunLock(tmp_path, enabled=True),
    ):
        pass


def test_it_is_free_afterwards(tmp_path):
    for _ in range(2):
        with RunLock(tmp_path, enabled=True):
            pass


def test_a_loader_process_that_outlives_its_run_does_not_hold_the_folder(tmp_path):
    with RunLock(tmp_path, enabled=True):
        fork = multiprocessing.get_context("fork")
        began = fork.Event()
        child = fork.Process(target=lambda: (began.set(), time.sleep(600)))
        child.start()
        began.wait()
    try:
        with RunLock(tmp_path, enabled=True):
            assert child.is_alive()
    finally:
        child.kill()
        child.join()


def test_other_ranks_take_none(tmp_path):
    with RunLock(tmp_path, enabled=True), RunLock(tmp_path, enabled=False):
        pass
