"""Bring weights of another code base here, or ours there.

A backbone:       van-dense convert van_base_828.pth.tar van_b2.safetensors --to transformers
A segmenter:      van-dense convert mmseg.pth ours.pt --project upernet_van_b2
and back again:   van-dense convert runs/upernet_van_b2/checkpoints/best.pt mmseg.pth --to mmseg
A detector:       van-dense convert model_final_f10217.pkl ours.pt --project maskrcnn_r50_detectron2
and back again:   van-dense convert ours.pt torchvision.pth --to torchvision
Of OpenMMLab:     van-dense convert mmdet.pth ours.pt --project maskrcnn_r50_mmdet
                  van-dense convert mmseg.pth ours.pt --project upernet_swin_t_mmseg
                  van-dense convert mmpose.pth ours.pt --project pose_r50_mmpose_256x192
Mask2Former:      van-dense convert model.safetensors ours.pt --project mask2former_van_b2
and back again:   van-dense convert ours.pt model.safetensors --to transformers

--to writes the backbone alone, but our Semantic FPN, UperNet and Light-Ham on VAN as a whole to
official and mmseg, our Mask R-CNN and RetinaNet to detectron2 and torchvision, and Mask2Former to
transformers; --project reads these again. Of a Mask2Former with another backbone it takes what
fits, and the weights that the project names for its own.
Beside weights for Detectron2 lies the config that they need there, OUT.detectron2.yaml.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser
from van_dense.config import load_config
from van_dense.core.writing import writing


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("convert", __doc__)
    parser.add_argument("input", metavar="IN", help="file, address, or name such as van_b2_in1k")
    out_help = "new .safetensors or .pth file, .pt with --project"
    parser.add_argument("output", metavar="OUT", type=Path, help=out_help)
    target = parser.add_mutually_exclusive_group(required=True)
    layouts = ("official", "transformers", "mmpretrain", "mmseg", "detectron2", "torchvision")
    target.add_argument("--to", choices=layouts, help="layout of the keys to write")
    target.add_argument("--project", help="project, file or packaged, of the network in IN")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="change --project")
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    suffixes = (".pt",) if args.project else (".safetensors", ".pth")
    if args.to == "detectron2":
        suffixes = (".pth",)  # its checkpointer reads no other
    if args.output.suffix not in suffixes:
        parser.error(f"OUT must end in {' or '.join(suffixes)}, got {args.output.name}")
    if args.overrides and args.to:
        parser.error(f"{args.overrides} change a config, which only --project reads")
    return args


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Convert and print what became of it."""
    args = _parse(argv)
    if args.project:
        load_config(args.project, args.overrides)  # a mistake there, before heavy imports
    from van_dense.runs.convert import export_weights, import_weights

    with writing(args.output):
        if args.project:
            done = import_weights(args.input, args.output, args.project, args.overrides)
        else:
            done = export_weights(args.input, args.output, args.to)
    say(done)
    return 0
