#!/usr/bin/env bash
# An ONNX file that NNCF has quantised to 8 bits convolves in float32 in ONNX Runtime, unless a ReLU
# follows.
#
# Package:  nncf 3.4.0, onnx 1.23.2, ONNX Runtime 1.32.0, numpy 2.4.6.
# Expected: nncf.quantize takes an onnx.ModelProto and names ONNX Runtime as what runs the result, so
#           its convolutions are computed in integers there, as those of ONNX Runtime's own quantiser.
# Happens:  NNCF quantises what goes into a convolution, and fuses the activation after it into the
#           convolution: the next pair of QuantizeLinear and DequantizeLinear stands behind the
#           activation. ONNX Runtime has an integer convolution only where the output of the
#           convolution itself, or of a ReLU after it, is quantised. Behind GELU and SiLU, which
#           nearly all backbones since 2020 have, it rounds to 8 bits, turns back, and convolves in
#           float32, without a word.
# Matters:  the file loses precision and gains nothing. VAN-B0 at 512x512 on one thread of an AMD
#           EPYC with AVX512-VNNI: 66 ms in float32, 140 ms by NNCF's file, 54 ms by a file of ONNX
#           Runtime's quantiser. In OpenVINO NNCF's file takes 32 ms, half of float32. So one
#           "int8.onnx" is the fastest or the slowest, depending on the runtime.
# Seen:     relu: 3 integer convolutions by NNCF, 4 by ONNX Runtime's quantiser
#           gelu: 0 integer convolutions by NNCF, 4 by ONNX Runtime's quantiser
#           silu: 0 integer convolutions by NNCF, 4 by ONNX Runtime's quantiser
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    nncf==3.4.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - 2>/dev/null <<'PY' | grep -v ^Statistics  # its progress
import nncf
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

rng = np.random.default_rng(0)
images = [{"x": rng.normal(0, 1, (1, 3, 64, 64)).astype(np.float32)} for _ in range(8)]


def four_convolutions(activation):
    nodes, weights, x, channels = [], [], "x", 3
    for i in range(4):
        values = rng.normal(0, 0.3, (8, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        nodes.append(helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], f"conv{i}", pads=[1] * 4))
        if activation == "silu":
            nodes.append(helper.make_node("Sigmoid", [f"c{i}"], [f"s{i}"], f"sigmoid{i}"))
            nodes.append(helper.make_node("Mul", [f"c{i}", f"s{i}"], [f"y{i}"], f"product{i}"))
        else:
            kind = {"relu": "Relu", "gelu": "Gelu"}[activation]
            nodes.append(helper.make_node(kind, [f"c{i}"], [f"y{i}"], f"activation{i}"))
        x, channels = f"y{i}", 8
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])]
    ends.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 8, 64, 64]))
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


class Reader(CalibrationDataReader):
    def __init__(self):
        self.rest = iter(images)

    def get_next(self):
        return next(self.rest, None)


def integer_convolutions(model):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load("optimised.onnx").graph.node]
    return kinds.count("QLinearConv") + kinds.count("ConvInteger")


found = {}
for activation in ("relu", "gelu", "silu"):
    model = four_convolutions(activation)
    by_nncf = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
    quantize_static(
        model, "own.onnx", Reader(), op_types_to_quantize=["Conv"], activation_type=QuantType.QUInt8
    )
    found[activation] = [integer_convolutions(m) for m in (by_nncf, onnx.load("own.onnx"))]
    print("{}: {} integer convolutions by NNCF, {} by ONNX Runtime's quantiser"
          .format(activation, *found[activation]))
assert found == {"relu": [3, 4], "gelu": [0, 4], "silu": [0, 4]}, "changed"
PY
