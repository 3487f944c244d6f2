"""Parts of a model that half precision would spoil."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Computation in the precision of its inputs, whatever the run's autocast says.

    PyTorch knows no autocast on the meta device, and raises.
    """
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
