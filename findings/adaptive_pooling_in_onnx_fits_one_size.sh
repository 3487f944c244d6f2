#!/usr/bin/env bash
# An ONNX file that says it takes any height and width pools as for the size of the example alone.
#
# Package:  torch 2.14.1 (torch.onnx.export with dynamo=True), onnxscript 0.7.2 and ONNX Runtime
#           1.32.0, on the CPU (6 GB of disk).
# Expected: adaptive pooling to 6x6, as in the pyramid of PSPNet and UperNet, gives 6x6 means of
#           every size that the file declares; or the export refuses dynamic sides, or runs fail.
# Happens:  with Dim.DYNAMIC sides and an example whose sides are multiples of 6, the file declares
#           symbolic sides and holds one AveragePool whose window is that of the example: 24x24 gives
#           kernel 4. Another size is accepted without a word. 26x26 gives the right shape and other
#           numbers, since the last rows and columns are never read; 30x30 gives 7x7.
#           The program of torch.export made on the way is right for all of them.
# Matters:  segmenters with such a pyramid answer every image but those of the example's size
#           wrongly, with plausible maps. Comparing the file with the model on one size, as the
#           example's, sees nothing; a second size must be compared.
# Seen:     declared input: ['batch', 1, 'height', 'width'] are names, not numbers: True
#           24x24: shape (1, 1, 6, 6), largest difference 0.00
#           26x26: shape (1, 1, 6, 6), largest difference 0.50 or more: True
#           30x30: shape (1, 1, 7, 7) in place of (1, 1, 6, 6)
#           torch.export's own program on 26x26: equal: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.14.1 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
cd "$work"
"$work/venv/bin/python" -W ignore - 2>/dev/null <<'PY'
import onnxruntime
import torch
from torch.export import Dim


class Pool(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 6)


def image(side):
    return torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0))


pool, example = Pool(), image(24).repeat(2, 1, 1, 1)
any_size = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
torch.onnx.export(pool, (example,), "pool.onnx", dynamo=True, dynamic_shapes=any_size, verbose=False)
session = onnxruntime.InferenceSession("pool.onnx", providers=["CPUExecutionProvider"])
(entry,) = session.get_inputs()
are_names = all(isinstance(entry.shape[i], str) for i in (0, 2, 3))
print(f"declared input: ['batch', 1, 'height', 'width'] are names, not numbers: {are_names}")

found = {side: session.run(None, {entry.name: image(side).numpy()})[0] for side in (24, 26, 30)}
wanted = {side: pool(image(side)).numpy() for side in found}
apart = {side: abs(found[side] - wanted[side]).max() for side in (24, 26)}
print(f"24x24: shape {found[24].shape}, largest difference {apart[24]:.2f}")
print(f"26x26: shape {found[26].shape}, largest difference 0.50 or more: {apart[26] >= 0.5}")
print(f"30x30: shape {found[30].shape} in place of {wanted[30].shape}")
program = torch.export.export(pool, (example,), dynamic_shapes=any_size).module()
equal = torch.allclose(program(image(26)), pool(image(26)), atol=1e-5)
print(f"torch.export's own program on 26x26: equal: {equal}")

assert are_names and found[24].shape == (1, 1, 6, 6) and apart[24] < 1e-5, "changed: the export"
assert found[26].shape == (1, 1, 6, 6) and apart[26] >= 0.5, "changed: 26x26 is pooled otherwise"
assert found[30].shape == (1, 1, 7, 7), "changed: 30x30 is pooled otherwise"
assert equal, "changed: torch.export's program"
PY
