"""Stand-ins for the network of a pose model, and what it looks at."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.core.structures import Batch, Instances
from van_dense.models.pose.heatmap import build_codec
from van_dense.models.pose.top_down import CropGeometry, PoseScoring, TopDownPose

CROP = (128, 96)
CELLS = (32, 24)
BOXES = ((20, 10, 70, 90), (-30.5, 40, 50, 140.25), (3, 4, 3, 4), (60, 20, 150, 60))
FLIP = [1, 0, 2]  # left and right of three joints
SCORING = PoseScoring(sigmas=(0.05,) * 3, joint_threshold=0.2, nms="hard", nms_threshold=0.9)


class Recorder(nn.Module):
    """A backbone that hands on what it sees, and remembers it as pixels 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
        std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
        self.seen.append(images * std + mean)
        return [images.new_zeros(()), self.seen[-1]]


class Eye(nn.Module):
    """A head that sees joints painted as red, green and blue spots, in cells as udp's."""

    def forward(self, pixels: Tensor) -> Tensor:
        return F.avg_pool2d(pixels, 4) / 255


class Given(nn.Module):
    """A head that has its answers already, one for each pass."""

    def __init__(self, *answers: Tensor) -> None:
        super().__init__()
        self.answers = list(answers)

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self.answers.pop(0)
        return answer.expand(len(pixels), *answer.shape[-3:])


def make_model(head: nn.Module, *, codec: str = "udp", flip=None, **scoring) -> TopDownPose:
    return TopDownPose(
        Recorder(),
        head,
        codec=build_codec(codec, 2.0),
        crop=CropGeometry(CROP, 1.25),
        flip_order=flip,
        scoring=replace(SCORING, **scoring),
    )


def make_batch(*images: Tensor, proposals=None, **fields) -> Batch:
    sizes = [tuple(image.shape[1:]) for image in images]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    padded = torch.full((len(images), 3, height, width), 77, dtype=torch.uint8)  # never to be seen
    for place, image in zip(padded, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    ids = [f"image {i}" for i in range(len(images))]
    return replace(Batch(padded, sizes, sizes, ids, proposals=proposals), **fields)


def boxes(*rows: tuple[float, float, float, float], scores=None, labels=None) -> Instances:
    scores = [1.0] * len(rows) if scores is None else scores
    labels = [0] * len(rows) if labels is None else labels
    return Instances(
        torch.tensor(rows, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        scores=torch.tensor(scores),
    )


def black(height: int = 100, width: int = 80) -> Tensor:
    return torch.zeros(3, height, width, dtype=torch.uint8)


def one_peak(joint: int, row: int, column: int, height: float) -> Tensor:
    heatmaps = torch.zeros(1, 3, *CELLS)
    heatmaps[0, joint, row, column] = height
    return heatmaps


def three_peaks(*heights: float) -> Tensor:
    return sum(one_peak(k, 16, 12, height) for k, height in enumerate(heights))


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
