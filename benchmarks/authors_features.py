"""Are maps and logits of MogaNet and UniRepLKNet those of their authors' code?

python benchmarks/authors_features.py --moganet MogaNet/models/moganet.py
python benchmarks/authors_features.py --unireplknet UniRepLKNet/unireplknet.py [--sizes a t]

The files are those of github.com/Westlake-AI/MogaNet and github.com/AILab-CVC/UniRepLKNet. Every
size gets the same weights twice, by a fixed rule, and sees images of four sizes, odd ones among
them. UniRepLKNet is merged by both as well. Prints the largest difference, relative to the largest
value of a map.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import timm
import timm.layers
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
import van_dense  # noqa: F401  (registers the models)
from benchmarks.harness.seeded_weights import seed_weights
from van_dense.backbones import moganet, unireplknet

IMAGES = ((64, 96), (67, 95), (225, 160), (33, 33))  # height and width
LIMIT = 1e-5
ARCH = {"xt": "x-tiny", "t": "tiny", "s": "small", "b": "base", "l": "large", "xl": "x-large"}


def main() -> None:
    """Compare what the command line asks for."""
    parser = argparse.ArgumentParser(description="Compare with the code of the authors.")
    parser.add_argument("--moganet", type=Path, help="their moganet.py")
    parser.add_argument("--unireplknet", type=Path, help="their unireplknet.py")
    parser.add_argument("--sizes", nargs="*", help="such as a and t; all by default")
    arguments = parser.parse_args()
    with torch.no_grad():
        if arguments.moganet:
            theirs = module_of(arguments.moganet)
            for size in chosen(moganet.SIZES, arguments.sizes):
                compare_moganet(theirs, size)
        if arguments.unireplknet:
            theirs = module_of(arguments.unireplknet)
            theirs.get_root_logger = lambda: None  # type: ignore[attr-defined]
            for size in chosen(unireplknet.SIZES, arguments.sizes):
                compare_unireplknet(theirs, size)


def module_of(path: Path) -> ModuleType:
    """Run a file that was written for timm 0.6, whose models stay out of timm's registry."""
    layers, registry = (ModuleType(f"timm.models.{name}") for name in ("layers", "registry"))
    for name in ("DropPath", "trunc_normal_", "to_2tuple"):
        setattr(layers, name, getattr(timm.layers, name))
    registry.register_model = lambda build: build  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location(f"their_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    kept = {one.__name__: sys.modules.get(one.__name__) for one in (layers, registry)}
    sys.modules.update({one.__name__: one for one in (layers, registry)})
    try:
        with redirect_stdout(StringIO()):
            spec.loader.exec_module(module)
    finally:
        sys.modules.update({name: one for name, one in kept.items() if one is not None})
    return module


def chosen(names: Sequence[str] | dict[str, Any], sizes: Sequence[str] | None) -> list[str]:
    """Sizes of a family that were asked for."""
    known = [name.rpartition("_")[2] for name in names]
    return [size for size in known if not sizes or size in sizes]


def compare_moganet(theirs: ModuleType, size: str) -> None:
    """Maps and logits of one size."""
    name, arch = f"moganet_{size}", ARCH[size]
    compare(f"{name} maps", maps_of(name), theirs.MogaNet(arch=arch, fork_feat=True))
    compare(f"{name} logits", timm.create_model(name), theirs.MogaNet(arch=arch))


def compare_unireplknet(theirs: ModuleType, size: str) -> None:
    """Maps, logits, and maps of the merged form of one size."""
    name = f"unireplknet_{size}"
    dims, depths, _ = unireplknet.SIZES[name]

    def build(**options: Any) -> Any:
        with redirect_stdout(StringIO()):
            return theirs.UniRepLKNet(
                dims=dims, depths=depths, attempt_use_lk_impl=False, **options
            )

    compare(f"{name} logits", timm.create_model(name), build())
    ours, other = maps_of(name), build(num_classes=None, init_cfg={"checkpoint": None})
    compare(f"{name} maps", ours, other)
    images = image(IMAGES[1])
    before = outputs(ours, images)
    ours.merge()
    other.reparameterize_unireplknet()
    after, their_maps = outputs(ours, images), outputs(other, images)
    say(f"{name} maps, merged and before", list(zip(after, before, strict=True)))
    say(f"{name} maps, merged by both", list(zip(after, their_maps, strict=True)))
    own, their_state = ours.state_dict(), other.state_dict()
    say(f"{name} tensors, merged by both", [(own[key], their_state[key]) for key in their_state])


def maps_of(name: str) -> Any:
    """One of our models as a backbone, without classifier."""
    model = timm.create_model(name, num_classes=0)
    model.prune_intermediate_layers([0, 1, 2, 3])
    return model


def image(size: tuple[int, int]) -> Tensor:
    """Two random images."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def outputs(model: Any, images: Tensor) -> list[Tensor]:
    """Maps of a backbone, or the logits."""
    if hasattr(model, "forward_intermediates") and not model.num_classes:
        return list(model.forward_intermediates(images, intermediates_only=True))
    found = model(images)
    return list(found) if isinstance(found, list) else [found]


def compare(what: str, ours: nn.Module, theirs: nn.Module) -> None:
    """Outputs for images of all sizes."""
    seed_weights(theirs)
    ours.eval().load_state_dict(theirs.state_dict())
    pairs: list[tuple[Tensor, Tensor]] = []
    for images in map(image, IMAGES):
        pairs += zip(outputs(ours, images), outputs(theirs, images), strict=True)
    say(what, pairs)


def say(what: str, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Print the largest difference, and stop at one that is too large."""
    used = [(a, b) for a, b in pairs if a.is_floating_point()]
    assert all(a.shape == b.shape and b.isfinite().all() for a, b in used), what
    found = [float((a - b).abs().max() / b.abs().max()) for a, b in used]
    print(f"{what}: {max(found):.1e}", flush=True)
    assert all(one <= LIMIT for one in found), what


if __name__ == "__main__":
    main()
