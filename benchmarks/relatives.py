"""Are VAN's relatives here what their authors' code computes? Their modules and ours side by side.

    python benchmarks/relatives.py --segnext CLONE --lska CLONE --lsknet CLONE

Each CLONE is a git clone of the authors' repository, read at HEAD; the little that these modules
take from mmcv, mmseg and mmrotate is replaced by plain PyTorch. Both sides get weights that depend
on the names alone, as ``tests/backbones/test_relatives.py`` fills them, whose recorded values this
prints.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import types
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from van_dense.backbones import lsknet, mscan
from van_dense.models.segmentation.light_ham import LightHam

SIZES = [(64, 96), (67, 95), (33, 130), (97, 41)]  # of the images
RECORDED = (67, 95)
LSKA = [(7, 2), (11, 2), (23, 3), (35, 3), (41, 3), (53, 3)]  # K and d
RATIOS = [8, 8, 4, 4]
HEADS = [(256, 256, 16), (512, 512, 64), (512, 480, 64)]  # width, factorised channels, rank
EPS = partial(nn.LayerNorm, eps=1e-6)


class _Registry:
    def register_module(self) -> Callable[[Any], Any]:
        return lambda kind: kind


class _BaseModule(nn.Module):
    def __init__(self, init_cfg: object = None) -> None:
        super().__init__()


class _ConvModule(nn.Module):
    """mmcv's convolution with GroupNorm and ReLU, where they are asked for."""

    def __init__(self, *sizes: int, **settings: Any) -> None:
        super().__init__()
        norm, self.is_active = settings.get("norm_cfg"), settings.get("act_cfg", "") is not None
        self.conv = nn.Conv2d(*sizes, bias=norm is None)
        self.gn = nn.GroupNorm(norm["num_groups"], sizes[1]) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.gn(self.conv(x))
        return x.relu() if self.is_active else x


class _DecodeHead(nn.Module):
    """mmseg's base of heads: which maps are taken, dropout, and the classifier."""

    conv_cfg, act_cfg, align_corners = None, "relu", False

    def __init__(
        self, *, in_channels: list[int], channels: int, num_classes: int, norm_cfg: Any, **_: Any
    ) -> None:
        super().__init__()
        self.in_channels, self.channels, self.norm_cfg = in_channels, channels, norm_cfg
        self.dropout, self.conv_seg = nn.Dropout2d(0.1), nn.Conv2d(channels, num_classes, 1)

    def _transform_inputs(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return list(maps[1:])

    def cls_seg(self, x: Tensor) -> Tensor:
        return self.conv_seg(self.dropout(x))


def _resize(x: Tensor, size: Sequence[int], mode: str, align_corners: bool) -> Tensor:
    return F.interpolate(x, tuple(size), mode=mode, align_corners=align_corners)


def _stand_in() -> None:
    """Packages with what the modules import from them."""
    registry, norm = _Registry(), lambda _, channels: ("bn", nn.BatchNorm2d(channels))
    names = ("constant_init", "normal_init", "trunc_normal_init")
    contents: dict[str, dict[str, Any]] = {
        "mmcv": {},
        "mmcv.cnn": {"build_norm_layer": norm, "ConvModule": _ConvModule},
        "mmcv.cnn.bricks": {"DropPath": timm.layers.DropPath},
        "mmcv.cnn.utils": {},
        "mmcv.cnn.utils.weight_init": dict.fromkeys(names),
        "mmcv.runner": {"BaseModule": _BaseModule},
        "mmseg": {},
        "mmseg.models": {},
        "mmseg.models.builder": {"BACKBONES": registry, "HEADS": registry},
        "mmseg.models.decode_heads": {},
        "mmseg.models.decode_heads.decode_head": {"BaseDecodeHead": _DecodeHead},
        "mmseg.ops": {"resize": _resize},
        "mmrotate": {},
        "mmrotate.models": {},
        "mmrotate.models.backbones": {},
        "mmrotate.models.builder": {"ROTATED_BACKBONES": registry},
    }
    for name, values in contents.items():
        module: Any = types.ModuleType(name)
        module.__dict__.update(values, __path__=[])
        sys.modules[name] = module
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]


def _git(clone: str, *command: str) -> str:
    done = subprocess.run(
        ["git", "-C", clone, *command], capture_output=True, text=True, check=True
    )
    return done.stdout


def _module(clone: str, path: str, name: str) -> Any:
    print(f"{path}, commit {_git(clone, 'rev-parse', 'HEAD').strip()}")
    module = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    sys.modules[name] = module
    exec(compile(_git(clone, "show", f"HEAD:{path}"), path, "exec"), module.__dict__)
    return module


def filled(model: nn.Module) -> nn.Module:
    """Weights that depend on their names alone."""
    for key, value in model.state_dict().items():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        if value.ndim > 1:
            drawn = torch.randn(value.shape, generator=generator)
            value.copy_(drawn / value[0].numel() ** 0.5)
        elif value.ndim == 1:
            drawn = torch.rand(value.shape, generator=generator)
            is_bias, is_scale = key.endswith("bias"), "layer_scale" in key
            value.copy_(0.1 * drawn if is_scale else 0.5 * drawn + 0.5 * (not is_bias))
    return model.eval()


def _noise(channels: int, size: tuple[int, int], stride: int = 1, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0 if stride == 1 else stride)
    sides = [-(-side // stride) for side in size]
    return torch.randn(batch, channels, *sides, generator=generator)


def compare(
    name: str, theirs: nn.Module, maps: Callable[[Any, Tensor], Any], **options: Any
) -> None:
    """Print the largest difference of the maps over all sizes, and what the tests record."""
    ours: Any = timm.create_model(name, **options)
    ours.load_state_dict(filled(theirs).state_dict())
    worst, largest = 0.0, 0.0
    for size in SIZES:
        found = maps(theirs, _noise(3, size))
        own = ours.eval().forward_intermediates(_noise(3, size), intermediates_only=True)
        for one, other in zip(found, own[-len(found) :], strict=True):
            worst = max(worst, (one - other).abs().max().item())
            largest = max(largest, one.abs().max().item())
    print(f"{name} {options}: largest difference {worst:.1e} of values up to {largest:.1f}")
    for level in maps(theirs, _noise(3, RECORDED)):
        _record(level)


def _record(level: Tensor) -> None:
    values = [round(value, 6) for value in level[0, :3, -1, -1].tolist()]
    print(f"    ({level.double().abs().sum().item():.4f}, {values}),")


def compare_heads(kind: Any, dims: list[int], heads: Sequence[tuple[int, int, int]]) -> None:
    """The same for Light-Ham, from the same bases, in evaluation and in training."""
    for width, ham_channels, rank in heads:
        settings = {"channels": width, "ham_channels": ham_channels, "num_classes": 5}
        norm = {"type": "GN", "num_groups": 32}
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = kind(
                in_channels=dims[1:], ham_kwargs={"MD_R": rank}, norm_cfg=norm, **settings
            )
        ours = LightHam(dims, rank=rank, train_steps=6, eval_steps=7, dropout=0.1, **settings)
        ours.load_state_dict(filled(theirs).state_dict(), strict=False)
        bases, drawn = ours.hamburger.ham.bases, theirs.hamburger.ham._build_bases
        worst = 0.0
        for size in SIZES:
            maps = [_noise(d, size, s, 2) for d, s in zip(dims, (4, 8, 16, 32), strict=True)]
            for training in (True, False):
                fixed = lambda batch, *_, **__: bases.expand(batch, -1, -1)  # noqa: B023, E731
                theirs.hamburger.ham._build_bases = drawn if training else fixed
                results = []
                for head in (theirs, ours):
                    torch.manual_seed(5)
                    results.append(head.train(training)(list(maps)))
                worst = max(worst, (results[0] - results[1]).abs().max().item())
        print(f"Light-Ham {width}, {ham_channels}, rank {rank}: largest difference {worst:.1e}")
        maps = [_noise(d, RECORDED, s, 2) for d, s in zip(dims, (4, 8, 16, 32), strict=True)]
        _record(theirs(maps))


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> None:
    """Compare all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("segnext", "lska", "lsknet"):
        parser.add_argument(f"--{name}", metavar="CLONE", required=True)
    clones = parser.parse_args(argv)
    torch.set_num_threads(1)
    _stand_in()
    package = "mmseg.models.backbones.mscan"
    code = _module(clones.segnext, "mmseg/models/backbones/mscan.py", package)
    for name, (dims, depths) in mscan.SIZES.items():
        sizes = {"embed_dims": list(dims), "depths": list(depths), "mlp_ratios": RATIOS}
        compare(name, code.MSCAN(norm_cfg=None, **sizes), lambda m, x: m(x), num_classes=0)
    package = "mmseg.models.decode_heads.ham_head"
    code = _module(clones.segnext, "mmseg/models/decode_heads/ham_head.py", package)
    compare_heads(code.LightHamHead, [64, 128, 320, 512], HEADS)
    compare_heads(code.LightHamHead, [8, 64, 96, 160], [(64, 96, 16)])
    package = "mmrotate.models.backbones.lsknet"
    code = _module(clones.lsknet, "mmrotate/models/backbones/lsknet.py", package)
    for name, (dims, depths) in lsknet.SIZES.items():
        sizes = {"embed_dims": list(dims), "depths": list(depths), "mlp_ratios": RATIOS}
        compare(name, code.LSKNet(norm_layer=EPS, **sizes), lambda m, x: m(x), num_classes=0)
    code = _module(clones.lska, "models/van.py", "lska_van")
    sizes = {"embed_dims": [32, 64, 160, 256], "depths": [3, 3, 5, 2], "mlp_ratios": RATIOS}
    for kernel, dilation in LSKA:
        options = {"lka_variant": "lska", "lka_kernel": kernel, "lka_dilation": dilation}
        theirs = code.VAN(norm_layer=EPS, k_size=kernel, **sizes)
        compare("van_b0", theirs, lambda m, x: m.forward_features(x)[:1], **options)


if __name__ == "__main__":
    main()
