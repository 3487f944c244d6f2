"""Draw why trained networks predict what they predict.

explain.py RUN IMAGE ...                                    the surest thing found in each image
explain.py RUN IMAGE --target all                           every box
explain.py RUN IMAGE --target mask:1 cat 3                  a mask, every cat, the third box
explain.py RUN IMAGE --beside RUN2 RUN3                     several networks side by side
explain.py RUN IMAGE ... --view attention | features | field

Targets: the name of a class or joint, a rank (1 is the surest box or joint, the likeliest class,
the largest region), all, "mask:" before one of these, or a point x,y of a label map.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from van_dense.api import Loaded


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture; 2 when there is nothing to draw or something is wrong."""
    arguments = _parse(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in train_net.py
    from van_dense.data.image import SUFFIXES
    from van_dense.data.sources import find_files

    try:
        images = [path for source in arguments.images for path in find_files(source, SUFFIXES)]
        networks = _load([arguments.run, *arguments.beside], arguments.device)
        picture = _draw(arguments, networks, images)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        picture.save(arguments.output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(arguments.output)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files and folders")
    parser.add_argument("--beside", nargs="+", default=[], metavar="RUN", help="further networks")
    parser.add_argument("--target", nargs="+", default=[], metavar="WHAT", help="(default: 1)")
    layer = "name of a module (default: last block of stage 4; stage 3 for boxes, 2 for masks)"
    parser.add_argument("--layer", nargs="+", default=[], metavar="NAME", help=layer)
    method = "gradcam, gradcam++, eigencam, layercam or direction (default: direction for boxes, "
    parser.add_argument("--method", help=f"{method}masks and joints, otherwise gradcam)")
    views = ("cam", "attention", "features", "field")
    what = "activation maps, large kernel attention, features as colours, or receptive field"
    parser.add_argument("--view", choices=views, default="cam", help=what)
    score = "detections below are left out (default 0.3)"
    parser.add_argument("--min-score", type=float, default=0.3, help=score)
    parser.add_argument("--output", type=Path, default=Path("explain.png"), help="picture to write")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    arguments = parser.parse_args(argv)
    if arguments.output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        parser.error(f"--output {arguments.output}: end it in .png, .jpg or .webp")
    if len(arguments.layer) > 1 and arguments.view != "features":
        parser.error(f"--view {arguments.view} takes one --layer")
    if arguments.view != "cam" and (arguments.target or arguments.method):
        parser.error(f"--target and --method belong to --view cam, not to {arguments.view}")
    return arguments


def _load(runs: Sequence[str], device: str | None) -> dict[str, Loaded]:
    """Networks by the name of their backbone, with that of the run where two have the same."""
    from van_dense.api import load

    networks: dict[str, Loaded] = {}
    for run in runs:
        loaded = load(run, device=device, engine="torchvision")
        title = loaded.config.model.backbone.name
        if title in networks:
            title = f"{title}, {Path(run).stem}"
        while title in networks:
            title += "'"
        networks[title] = loaded
    return networks


def _draw(
    arguments: argparse.Namespace, networks: dict[str, Loaded], images: Sequence[Path]
) -> Image.Image:
    from van_dense.tasks.explaining import cam_view
    from van_dense.tasks.views import attention_view, features_view, field_view

    layer = arguments.layer[0] if arguments.layer else None
    if arguments.view == "attention":
        if len(networks) > 1:
            raise ValueError("--view attention shows one network; leave --beside out")
        return attention_view(next(iter(networks.values())), images)
    if arguments.view == "features":
        return features_view(networks, images, layers=arguments.layer)
    if arguments.view == "field":
        numbers = arguments.output.with_suffix(".json")
        return field_view(networks, images, layer=layer, numbers=numbers)
    return cam_view(
        networks,
        images,
        targets=arguments.target,
        layer=layer,
        method=arguments.method,
        min_score=arguments.min_score,
    )


if __name__ == "__main__":
    sys.exit(main())
