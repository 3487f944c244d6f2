"""The accelerator."""

from datetime import timedelta

import pytest
import torch

from van_dense.engine.device import make_accelerator


def test_one_process_can_make_accelerators_of_different_precision():
    assert make_accelerator("bf16").mixed_precision == "bf16"
    assert make_accelerator("fp32").mixed_precision == "no"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fp16_without_a_gpu_is_an_error():
    with pytest.raises(ValueError, match="set it to bf16 or fp32"):
        make_accelerator("fp16")


def test_no_evaluation_of_rank_0_is_longer_than_the_others_wait():
    assert make_accelerator().init_handler.timeout >= timedelta(days=7)
