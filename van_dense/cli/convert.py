"""Bring weights of another code base here, or ours there.

A backbone:       convert_weights.py van_base_828.pth.tar van_b2.safetensors --to transformers
A segmenter:      convert_weights.py mmseg.pth ours.pt --project projects/upernet_van_b2.yaml
and back again:   convert_weights.py runs/upernet_van_b2/checkpoints/best.pt mmseg.pth --to mmseg
A detector:       convert_weights.py model_final_f10217.pkl ours.pt
                      --project projects/maskrcnn_r50_detectron2.yaml
and back again:   convert_weights.py ours.pt torchvision.pth --to torchvision

--to writes the backbone alone, but our Semantic FPN and UperNet as a whole to official and mmseg,
and our Mask R-CNN and RetinaNet to detectron2 and torchvision; --project reads these again.
Beside weights for Detectron2 lies the config that they need there, OUT.detectron2.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("input", metavar="IN", help="file, address, or name such as van_b2_in1k")
    out_help = "new .safetensors or .pth file, .pt with --project"
    parser.add_argument("output", metavar="OUT", type=Path, help=out_help)
    target = parser.add_mutually_exclusive_group(required=True)
    layouts = ("official", "transformers", "mmpretrain", "mmseg", "detectron2", "torchvision")
    target.add_argument("--to", choices=layouts, help="layout of the keys to write")
    target.add_argument("--project", help="project file that describes the whole model in IN")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="of --project")
    args = parser.parse_intermixed_args(arguments)
    suffixes = (".pt",) if args.project else (".safetensors", ".pth")
    if args.to == "detectron2":
        suffixes = (".pth",)  # its checkpointer reads no other
    if args.output.suffix not in suffixes:
        parser.error(f"OUT must end in {' or '.join(suffixes)}, got {args.output.name}")
    if args.overrides and args.to:
        parser.error(f"{args.overrides} change a config, which only --project reads")
    return args


def main() -> None:
    """Convert as the command line says; mistakes end with one message instead of a traceback."""
    args = parse_args()
    from van_dense.runs.convert import export_weights, import_weights

    try:
        if args.project:
            print(import_weights(args.input, args.output, args.project, args.overrides))
        else:
            print(export_weights(args.input, args.output, args.to))
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
