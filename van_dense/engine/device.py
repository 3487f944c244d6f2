"""The accelerator of a run: device, processes and autocast, from accelerate."""

from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

# Rank 0 scores and draws while the others wait, which on a large data set takes longer than the 10
# minutes of NCCL or the 30 of gloo. A rank that dies is noticed by torchrun, which ends the others.
_PATIENCE = timedelta(days=7)
_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(precision: str = "fp32") -> Accelerator:
    """Make a fresh accelerator on the GPU, or on the CPU without one; make one for each run.

    Under ``torchrun`` it joins the other processes (gloo on the CPU, NCCL on GPUs). ``precision``
    of autocast is "fp32", "bf16" or, with a GPU, "fp16": accelerate would silently use fp32.
    """
    has_gpu = torch.cuda.is_available()
    if precision == "fp16" and not has_gpu:
        raise ValueError("train.precision = fp16 needs a GPU; set it to bf16 or fp32")
    # A second run of one process (a notebook) may use another precision.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=_PRECISION[precision],
        cpu=not has_gpu,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def lost_process(error: RuntimeError) -> ConnectionError | None:
    """The error to raise in place of PyTorch's where this process cannot reach the others.

    None for one about something else. NCCL and the store of addresses have errors of their own,
    gloo only a RuntimeError with the place in its source.
    """
    text = " ".join(str(error).split())
    if not isinstance(error, dist.DistError) and "/gloo/" not in text:
        return None
    what = "another process of this job cannot be reached: killed by the system or by someone, or"
    return ConnectionError(f"{what} ended by an error that it or torchrun names ({text:.300})")
