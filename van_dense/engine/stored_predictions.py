"""Predictions as bytes, and back to the last bit, without any code that could run on reading."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from van_dense.core.structures import Instances, Prediction

_LEVEL = 1  # of compression: a label map shrinks to a twentieth, in a few milliseconds


def pack(predictions: Sequence[Prediction]) -> bytes:
    """Predictions as bytes; ``unpack`` gives them back."""
    file = io.BytesIO()
    torch.save([_plain(prediction) for prediction in predictions], file)
    return zlib.compress(file.getvalue(), _LEVEL)


def unpack(data: bytes) -> list[Prediction]:
    """The predictions of ``pack``."""
    stored = torch.load(io.BytesIO(zlib.decompress(data)), weights_only=True)
    return [_prediction(values) for values in stored]


def _plain(value: Prediction | Instances) -> dict[str, Any]:
    """Fields with tensors that hold nothing but themselves: a view would be saved as its whole."""
    plain: dict[str, Any] = {}
    for field in fields(value):
        one = getattr(value, field.name)
        if isinstance(one, Instances):
            one = _plain(one)
        elif isinstance(one, np.ndarray):
            one = torch.from_numpy(np.ascontiguousarray(one))
        plain[field.name] = one.detach().clone() if isinstance(one, Tensor) else one
    return plain


def _prediction(values: dict[str, Any]) -> Prediction:
    maps = {
        name: values[name].numpy()
        for name in ("semantic", "panoptic", "saliency")
        if values[name] is not None
    }
    if values["instances"] is not None:
        maps["instances"] = Instances(**values["instances"])
    return replace(Prediction(**values), **maps)
