"""Which kinds of operations a network spends its time on, by PyTorch's profiler.

Times are of the device alone: those of the kernels that an operator launches on a GPU, those of the
operator itself on a CPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness.clock import synchronize
from benchmarks.harness.gpu_speed import (
    LAYOUTS,
    WARM_UP,
    Case,
    Found,
    Setting,
    build_network,
    inference_step,
    training_step,
)

STEPS = 3  # that are recorded
_NETWORKS = ("van_b2", "swin_tiny_patch4_window7_224", "convnext_tiny", "van_b0", "van_b6")
# Parts of operators' names, the first that fits; convolutions are told apart by their weights.
_KINDS = (
    ("attention", ("attention", "flash", "efficient_attention")),
    ("norm", ("norm",)),
    ("matrix product", ("mm", "matmul", "linear", "einsum")),
    ("activation", ("gelu", "relu", "silu", "sigmoid", "softmax")),
    ("optimizer", ("_foreach", "_fused", "_amp")),
    ("copy and cast", ("copy", "contiguous", "cat", "clone", "roll", "index", "pad")),
    ("elementwise", ("add", "mul", "sub", "div", "sum", "mean", "pow", "fill", "zero")),
)
_WEIGHT_OF = {"forward": 1, "backward": 2}  # position among the inputs of a convolution


def shares(setting: Setting) -> Iterator[Case]:
    """Share of each kind of operation in inference and training."""
    sizes = ((64, 64),) if setting.tiny else ((800, 1280), (224, 224))
    for size in sizes:
        batch = 2 if setting.tiny else {(800, 1280): 4, (224, 224): 128}[size]
        for name in ("van_b0",) if setting.tiny else _NETWORKS:
            for part in ("infer", "train"):
                about = {
                    "model": name,
                    "kind": "classifier" if size[0] == size[1] else "backbone",
                    "amp_dtype": "bf16",
                    "layout": "channels_last",
                    "part": part,
                    "img_size": size[0] if size[0] == size[1] else list(size),
                    "batch_size": batch,
                }
                yield about, partial(_shares, setting, about, size)


def _shares(setting: Setting, about: Found, size: tuple[int, int]) -> Found:
    device = setting.device
    with device:
        model = build_network(about["model"], about["kind"], size)
    model.to(device, memory_format=LAYOUTS[about["layout"]])
    make = inference_step if about["part"] == "infer" else training_step
    step = make(model, model, about, size, about["batch_size"])
    for _ in range(1 if setting.tiny else WARM_UP):
        step()
    synchronize(device)
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, record_shapes=True) as recorded:
        for _ in range(STEPS):
            step()
        synchronize(device)
    events = recorded.key_averages(group_by_input_shape=True)
    return by_kind(events, on_gpu=device.type == "cuda")


def by_kind(events: Sequence[Any], *, on_gpu: bool) -> Found:
    """Milliseconds of a step, and the share of each kind of operation, the largest first.

    Args:
        events: Of a profiler, by operator and shape of inputs. Kernels have events of their own
            beside those of the operators that launched them, which are not counted twice.
        on_gpu: Whether the time of kernels counts, or that of the operators themselves.
    """
    times: dict[str, float] = defaultdict(float)
    for event in events:
        if event.device_type != DeviceType.CPU:
            continue
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if time > 0 and event.key.startswith("aten::"):
            times[kind_of(event.key, event.input_shapes)] += time
    total = sum(times.values())
    largest = sorted(times.items(), key=lambda item: -item[1])
    return {
        "device_ms_per_step": round(total / 1e3 / STEPS, 3),
        "share": {kind: round(time / total, 4) for kind, time in largest},
    }


def kind_of(operator: str, shapes: Sequence[Sequence[int]]) -> str:
    """Kind of an operator, by its name and the shapes of its inputs."""
    name = operator.removeprefix("aten::")
    if "conv" in name and "convert" not in name:
        place = _WEIGHT_OF["backward" if "backward" in name else "forward"]
        weight = shapes[place] if place < len(shapes) else []
        if len(weight) != 4:
            return "other convolution"
        if weight[1] == 1 and weight[0] > 1:
            return "depthwise convolution"
        return "1x1 convolution" if list(weight[2:]) == [1, 1] else "other convolution"
    for kind, parts in _KINDS:
        if any(part in name for part in parts):
            return kind
    return "other"
