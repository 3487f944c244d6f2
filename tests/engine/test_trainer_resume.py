"""A resumed run equals an uninterrupted one, bit for bit."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
from helpers.toy_training import run, slow_job, toy_job

from benchmarks.harness.same_runs import run_differences
from van_dense.engine.checkpoint import checkpoint_path, checkpoints
from van_dense.engine.device import make_accelerator
from van_dense.engine.inference import predict_chunks
from van_dense.engine.log import read_log


def assert_same_runs(one: Path, other: Path, last_step: int) -> None:
    """Weights, average, optimiser state, log window, best checkpoint and log are equal."""
    assert run_differences(one, other, last_step) == []


class Crash(Exception):
    pass


def crash_before(job, step):
    """The same job, whose loader fails when the batches of a (0-based) step are due."""

    def make_loader(start, streams):
        yield from islice(job.make_loader(start, streams), (step - start) * job.plan.accumulation)
        raise Crash

    return dataclasses.replace(job, make_loader=make_loader)


@pytest.mark.parametrize("crash_step", [1, 4, 5, 10, 11])
def test_a_run_that_crashed_at_any_step_resumes_to_the_same_result(tmp_path, crash_step):
    run(toy_job(tmp_path / "whole"))
    with pytest.raises(Crash):
        run(crash_before(toy_job(tmp_path / "crashed"), crash_step))
    run(toy_job(tmp_path / "crashed"), resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "crashed", 12)


def test_a_run_goes_on_with_the_streams_it_began_with(tmp_path):
    job = toy_job(tmp_path / "whole")
    old = dataclasses.replace(job.streams, kind=1)
    run(dataclasses.replace(job, streams=old))
    job = toy_job(tmp_path / "crashed")
    with pytest.raises(Crash):
        run(dataclasses.replace(crash_before(job, 6), streams=old))
    run(job, resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "crashed", 12)


def test_accumulation_and_bfloat16_resume_to_the_same_result(tmp_path):
    options = {"micro_batch": 2, "precision": "bf16"}
    run(toy_job(tmp_path / "whole", **options))
    with pytest.raises(Crash):
        run(crash_before(toy_job(tmp_path / "crashed", **options), 7))
    run(toy_job(tmp_path / "crashed", **options), resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "crashed", 12)


def test_a_run_killed_in_an_evaluation_makes_it_up_when_it_resumes(tmp_path):
    run(toy_job(tmp_path / "whole"))
    job = toy_job(tmp_path / "killed")

    def evaluate(model, step, should_stop):
        if step == 8:
            raise Crash
        return job.evaluate(model, step, should_stop)

    with pytest.raises(Crash):
        run(dataclasses.replace(job, evaluate=evaluate))
    assert [e["step"] for e in read_log(tmp_path / "killed/log.jsonl") if e["kind"] == "eval"] == [
        4
    ]
    run(toy_job(tmp_path / "killed"), resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "killed", 12)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_finishes_the_step_saves_and_names_the_command(tmp_path, caplog, number):
    run(toy_job(tmp_path / "whole"))
    job = toy_job(tmp_path / "stopped")

    def make_loader(start, streams):
        for step, batch in enumerate(job.make_loader(start, streams)):
            if step == 5:
                os.kill(os.getpid(), number)
            yield batch

    result = run(dataclasses.replace(job, make_loader=make_loader))
    assert result.interrupted and result.step == 6
    assert checkpoint_path(tmp_path / "stopped", result.step).exists()
    assert f"--output {tmp_path / 'stopped'} --resume" in caplog.text
    result = run(toy_job(tmp_path / "stopped"), resume=True)
    assert not result.interrupted
    assert_same_runs(tmp_path / "whole", tmp_path / "stopped", 12)


def test_a_signal_in_an_evaluation_ends_it_and_resuming_repeats_it(tmp_path, caplog):
    run(toy_job(tmp_path / "whole"))
    job = toy_job(tmp_path / "stopped")

    def evaluate(model, step, should_stop):
        if step == 8:
            os.kill(os.getpid(), signal.SIGTERM)
            list(predict_chunks(model, [], make_accelerator(), should_stop=should_stop))
        return job.evaluate(model, step, should_stop)

    result = run(dataclasses.replace(job, evaluate=evaluate))
    assert result.interrupted and result.step == 8
    assert "--resume" in caplog.text
    run(toy_job(tmp_path / "stopped"), resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "stopped", 12)


def test_a_torn_newest_checkpoint_falls_back_to_the_one_before(tmp_path):
    run(toy_job(tmp_path / "whole"))
    run(toy_job(tmp_path / "torn"))
    newest = checkpoint_path(tmp_path / "torn", 12)
    newest.write_bytes(newest.read_bytes()[:-1000])
    run(toy_job(tmp_path / "torn"), resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "torn", 12)


def test_a_run_killed_by_sigkill_resumes_to_the_same_result(tmp_path):
    run(slow_job(tmp_path / "whole"))
    script = Path(__file__).parents[1] / "helpers" / "toy_training.py"
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "killed")])
    deadline = time.monotonic() + 900
    while len(checkpoints(tmp_path / "killed")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    run(slow_job(tmp_path / "killed"), resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "killed", 40)
