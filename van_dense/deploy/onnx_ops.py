"""The operators of ``ops.py`` in those of ONNX (https://onnx.ai/onnx/operators/).

Needs the extra ``onnx``. The exporter inlines these functions; their names and argument order are
those of the operators.
"""

from collections.abc import Callable
from typing import Any

import torch

import van_dense.deploy.ops  # noqa: F401  (it registers the operators)
from van_dense.core.optional import require

onnxscript = require("onnxscript", "writing an ONNX file")
op, FLOAT, INT64 = onnxscript.opset20, onnxscript.FLOAT, onnxscript.INT64

OPSET = 20  # 2023: the first whose GridSample takes any number of dimensions


def _best_boxes(boxes: FLOAT, scores: FLOAT, iou: float, keep: int) -> INT64:
    num_boxes = op.Shape(boxes, start=1, end=2)
    num_classes = op.Shape(scores, start=1, end=2)
    everything = op.Constant(value_ints=[2**31 - 1])
    # -inf is below any threshold; NonMaxSuppression compares with ">".
    chosen = op.NonMaxSuppression(
        boxes,
        scores,
        everything,
        op.Constant(value_floats=[iou]),
        op.Constant(value_floats=[-3.0e38]),
    )
    group = op.Gather(chosen, op.Constant(value_int=0), axis=1)
    label = op.Gather(chosen, op.Constant(value_int=1), axis=1)
    index = op.Gather(chosen, op.Constant(value_int=2), axis=1)
    part = op.Add(op.Mul(group, num_classes), label)
    flat = op.Add(op.Mul(part, num_boxes), index)
    best = op.Gather(op.Reshape(scores, op.Constant(value_ints=[-1])), flat)
    count = op.Min(op.Shape(flat), op.Constant(value_ints=[keep]))
    _, order = op.TopK(best, count, axis=0)
    kept = op.Gather(flat, order)
    missing = op.Sub(op.Constant(value_ints=[keep]), count)
    padding = op.Concat(op.Constant(value_ints=[0]), missing, axis=0)
    return op.Pad(kept, padding, op.Constant(value_int=-1))


def _pool_regions(
    p2: FLOAT,
    p3: FLOAT,
    p4: FLOAT,
    p5: FLOAT,
    boxes: FLOAT,
    levels: INT64,
    output: int,
    samples: int,
    aligned: bool,
) -> FLOAT:
    mode = "half_pixel" if aligned else "output_half_pixel"
    parts, places = [], []
    for level, feature in enumerate((p2, p3, p4, p5)):
        equal = op.Equal(levels, op.Constant(value_int=level))
        here = op.Squeeze(op.NonZero(equal), op.Constant(value_ints=[0]))
        zeros = op.Mul(here, op.Constant(value_int=0))
        parts.append(
            op.RoiAlign(
                feature,
                op.Gather(boxes, here),
                zeros,
                coordinate_transformation_mode=mode,
                mode="avg",
                output_height=output,
                output_width=output,
                sampling_ratio=samples,
                spatial_scale=0.25 / 2**level,
            )
        )
        places.append(here)
    place = op.Concat(*places, axis=0)
    ascending = op.Range(
        op.Constant(value_int=0), op.Squeeze(op.Shape(place)), op.Constant(value_int=1)
    )
    order = op.ScatterElements(place, place, ascending, axis=0)
    return op.Gather(op.Concat(*parts, axis=0), order)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.van_dense.best_boxes.default: _best_boxes,
    torch.ops.van_dense.pool_regions.default: _pool_regions,
}  # for ``torch.onnx.export(custom_translation_table=...)``
