"""The accelerator."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
import torch

from van_dense.engine.device import lost_process, make_accelerator


def test_one_process_can_make_accelerators_of_different_precision():
    assert make_accelerator("bf16").mixed_precision == "bf16"
    assert make_accelerator("fp32").mixed_precision == "no"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fp16_without_a_gpu_is_an_error():
    with pytest.raises(ValueError, match="set it to bf16 or fp32"):
        make_accelerator("fp16")


def test_no_evaluation_of_rank_0_is_longer_than_the_others_wait():
    assert make_accelerator().init_handler.timeout >= timedelta(days=7)


WAIT = """
import os, sys
import torch
from van_dense.engine.device import lost_process
rank, method = int(sys.argv[1]), f"file://{sys.argv[2]}"
torch.distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=2)
torch.distributed.barrier()
if rank == 1:
    os.kill(os.getpid(), 9)
try:
    torch.distributed.all_reduce(torch.ones(4))
except RuntimeError as error:
    print(lost_process(error))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_process_that_is_killed_is_what_the_others_tell(tmp_path):
    command = [sys.executable, "-c", WAIT]
    first, second = (
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "init")], stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    )
    assert "another process of this job cannot be reached" in first.communicate()[0]
    assert second.wait() == -signal.SIGKILL


def test_other_errors_are_not_taken_for_a_process_that_is_gone():
    assert lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert lost_process(RuntimeError("photos/gloomy/1.jpg has no size")) is None
    assert lost_process(torch.distributed.DistBackendError("NCCL error: remote process exited"))
