"""Rename the keys of a VAN weights file to those of another code base.

Example: python tools/convert_weights.py van_base_828.pth.tar van_b2.safetensors --to transformers
"""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", metavar="IN", help="file, or a published name such as van_b2_in1k")
    parser.add_argument("output", metavar="OUT", type=Path, help="new .safetensors or .pth file")
    parser.add_argument(
        "--to",
        required=True,
        choices=("official", "transformers", "mmpretrain", "mmseg"),
        help="layout of the keys to write",
    )
    args = parser.parse_args(arguments)
    if args.output.suffix not in (".safetensors", ".pth"):
        parser.error(f"OUT must end in .safetensors or .pth, got {args.output.name}")
    return args


def convert(source: str, output: Path, layout: str) -> str:
    """Write ``source`` to ``output`` in another layout, and say what was found in it."""
    import timm
    import torch
    from safetensors.torch import save_file

    from van_dense.backbones.download import fetch_weights
    from van_dense.backbones.layouts import detect_layout, from_official, to_official, van_size
    from van_dense.backbones.weights import compare, read_state

    state = read_state(fetch_weights(source))
    official = to_official(state)
    size = van_size(official)
    summary = f"{source}: {detect_layout(state)} layout, no known VAN size"
    if size:
        with torch.device("meta"):  # shapes only
            model = timm.create_model(size)
        summary = f"{source}: {size}, {compare(model, state)[0]}"
    renamed = {k: v.contiguous() for k, v in from_official(official, layout).items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".safetensors":
        save_file(renamed, output, metadata={"format": "pt"})
    else:
        torch.save({"state_dict": renamed}, output)
    return f"{summary}\nwrote {len(renamed)} tensors to {output} ({layout} layout)"


def main() -> None:
    """Convert as the command line says; mistakes end with one message instead of a traceback."""
    args = parse_args()
    try:
        print(convert(args.input, args.output, args.to))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
