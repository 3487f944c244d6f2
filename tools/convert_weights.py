"""Rename the keys of VAN weights to those of another code base.

A backbone:       convert_weights.py van_base_828.pth.tar van_b2.safetensors --to transformers
A segmenter:      convert_weights.py mmseg.pth ours.pt --project projects/upernet_van_b2.yaml
and back again:   convert_weights.py runs/upernet_van_b2/checkpoints/best.pt mmseg.pth --to mmseg

--to writes the backbone alone, but our Semantic FPN and UperNet as a whole to official and mmseg,
and our Mask R-CNN and RetinaNet to detectron2 (docs/detectron2.md); --project reads these again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("input", metavar="IN", help="file, or a published name such as van_b2_in1k")
    out_help = "new .safetensors or .pth file, .pt with --project"
    parser.add_argument("output", metavar="OUT", type=Path, help=out_help)
    target = parser.add_mutually_exclusive_group(required=True)
    layouts = ("official", "transformers", "mmpretrain", "mmseg", "detectron2")
    target.add_argument("--to", choices=layouts, help="layout of the keys to write")
    target.add_argument("--project", help="project file that describes the segmenter in IN")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="of --project")
    args = parser.parse_intermixed_args(arguments)
    suffixes = (".pt",) if args.project else (".safetensors", ".pth")
    if args.output.suffix not in suffixes:
        parser.error(f"OUT must end in {' or '.join(suffixes)}, got {args.output.name}")
    if args.overrides and args.to:
        parser.error(f"{args.overrides} change a config, which only --project reads")
    return args


def convert(source: str, output: Path, layout: str) -> str:
    """Write ``source`` to ``output`` in another layout, and say what was found in it."""
    import timm
    import torch
    from safetensors.torch import save_file

    from van_dense.backbones.download import fetch_weights
    from van_dense.backbones.layouts import detect_layout, from_official, to_official, van_size
    from van_dense.backbones.weights import compare, read_state
    from van_dense.integrations.detectron2_keys import to_native

    path = fetch_weights(source)
    state = read_state(path)
    if layout in ("official", "mmseg") and "decoder.conv_seg.weight" in state:
        summary, content = whole_segmenter(path, layout)
    elif layout == "detectron2":
        summary, content = "whole detector", {"state_dict": to_native(state)}
    else:
        official = to_official(state)
        content = {"state_dict": from_official(official, layout)}
        summary = f"{detect_layout(state)} layout, no known VAN size"
        if size := van_size(official):
            with torch.device("meta"):  # shapes only
                summary = f"{size}, {compare(timm.create_model(size), state)[0]}"
    tensors = {key: value.contiguous() for key, value in content["state_dict"].items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".safetensors":
        save_file(tensors, output, metadata={"format": "pt"})
    else:
        name = "model" if layout == "detectron2" else "state_dict"  # as their own programs want
        torch.save({**content, name: tensors}, output)
    return f"{source}: {summary}\nwrote {len(tensors)} tensors to {output} ({layout} layout)"


def whole_segmenter(checkpoint: Path, layout: str) -> tuple[str, dict[str, Any]]:
    """Summary of a checkpoint of ours, and the same as a checkpoint of mmseg."""
    from van_dense.dataset_info import DatasetInfo
    from van_dense.engine.checkpoint import load_checkpoint
    from van_dense.models.mmseg_layout import to_mmseg
    from van_dense.visualize.palette import class_colors

    content = load_checkpoint(checkpoint)
    info = DatasetInfo.from_dict(content["info"])
    # mmseg's init_segmentor (0.x) and init_model (1.x) read these, and fail without "meta".
    meta = {"CLASSES": info.class_names, "PALETTE": [list(c) for c in class_colors(info)]}
    kind = "ema" if content["ema"] else "model"
    summary = f"{kind} weights of step {content['step']}, {info.num_classes} classes"
    return summary, {"meta": meta, "state_dict": to_mmseg(content[kind], layout)}


def import_segmenter(source: str, output: Path, project: str, overrides: list[str]) -> str:
    """Write a whole checkpoint of VAN-Segmentation or mmseg as one of ours."""
    from van_dense import build_model, load_config
    from van_dense.backbones.download import fetch_weights
    from van_dense.backbones.weights import read_state
    from van_dense.engine.checkpoint import save_checkpoint
    from van_dense.integrations.detectron2_keys import load_native
    from van_dense.models.mmseg_layout import load_segmenter
    from van_dense.tasks import TASKS

    config = load_config(project, overrides)
    info = TASKS[config.task].dataset_info(config)
    model = build_model(config, info)
    load: Any = load_native if config.task == "detection" else load_segmenter
    report = load(model, read_state(fetch_weights(source)))
    if getattr(report, "head", None):
        raise ValueError(
            f"{source} has another number of classes than {project}, so the classifier would be "
            f"random: {report.head[0]}; give data.classes and data.label_map of the file"
        )
    content = {"step": 0, "model": model.state_dict(), "ema": None, "info": info.to_dict()}
    save_checkpoint(output, {**content, "config": config.model_dump(mode="json")})
    return f"{source}: {report}\nwrote {output}, for van_dense.load and tools/eval_net.py"


def main() -> None:
    """Convert as the command line says; mistakes end with one message instead of a traceback."""
    args = parse_args()
    try:
        if args.project:
            print(import_segmenter(args.input, args.output, args.project, args.overrides))
        else:
            print(convert(args.input, args.output, args.to))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
