"""Draw why trained networks predict what they predict.

van-dense explain RUN IMAGE ...                          the best-scored thing of each image
van-dense explain RUN IMAGE --target all                 every box
van-dense explain RUN IMAGE --target mask:1 cat 3        a mask, every cat, the third box
van-dense explain RUN IMAGE --beside RUN2 RUN3           several networks side by side
van-dense explain RUN IMAGE ... --view attention         large kernel attention
van-dense explain RUN IMAGE ... --view features | field  features as colours, receptive field

Targets: the name of a class or joint, a rank (1 is the best-scored box or joint, the likeliest
class, the largest region), all, "mask:" before one of these, or a point x,y of a label
or panoptic map.

What a page of 2080 x 1720 pixels does not hold goes on: explain_001.png, explain_002.png, ..., each
written once it is full, in place of all pages of an earlier call. 1 tells of unreadable files.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from van_dense.cli.output import FAILED, command, complain, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.core.writing import writing

if TYPE_CHECKING:
    from PIL import Image

    from van_dense.api import Loaded
    from van_dense.engine.progress import Track


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages; 1 when a file could not be read."""
    arguments = _parse(argv)
    wait_passively()
    from van_dense.data.io.sources import find_sources
    from van_dense.data.io.suffixes import SUFFIXES
    from van_dense.engine.interrupt import STOPPED, StopSignal
    from van_dense.engine.progress import progress
    from van_dense.explain.pages import load_networks, save_pages

    unreadable: list[str] = []
    whole = arguments.view == "field"  # a mean over all images, which is not cut short
    try:
        with StopSignal() as stop, progress(lambda: stop.requested and not whole) as track:
            files = find_sources(arguments.images, SUFFIXES)
            networks = load_networks([arguments.run, *arguments.beside], arguments.device)
            pages = _draw(arguments, networks, list(files), track, unreadable)
            with writing(arguments.output):
                written = save_pages(pages, arguments.output)
    finally:
        for message in unreadable:
            complain(f"not explained: {message}")
    if written:
        say(*written[:1], *written[1:][-1:], sep=" to ")
    if stop.requested:
        return STOPPED
    return FAILED if unreadable else 0


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("explain", __doc__)
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files and folders")
    parser.add_argument("--beside", nargs="+", default=[], metavar="RUN", help="further networks")
    parser.add_argument(
        "--target",
        nargs="+",
        default=[],
        metavar="WHAT",
        help="what to explain, as above (default: 1)",
    )
    layer = "a module; several for features (default: stage 4 for classes and joints, 2 for masks, "
    parser.add_argument("--layer", nargs="+", default=[], help=f"{layer}3 for the rest)")
    method = "gradcam, gradcam++, eigencam, layercam or direction (default: direction for boxes, "
    parser.add_argument("--method", help=f"{method}masks and joints, otherwise gradcam)")
    views = ("cam", "attention", "features", "field")
    parser.add_argument("--view", choices=views, default="cam", help="(default: cam)")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        help="lowest score of detections and segments (default 0.3)",
    )
    parser.add_argument("--output", type=Path, default=Path("explain.png"), help="file to write")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        parser.error(f"--output {arguments.output}: end it in .png, .jpg or .webp")
    if len(arguments.layer) > 1 and arguments.view != "features":
        parser.error(f"--view {arguments.view} takes one --layer")
    if arguments.view == "attention" and arguments.beside:
        parser.error("--view attention shows one network; leave --beside out")
    if arguments.view != "cam" and (arguments.target or arguments.method):
        parser.error(f"--target and --method belong to --view cam, not to {arguments.view}")
    return arguments


def _draw(
    arguments: argparse.Namespace,
    networks: dict[str, Loaded],
    files: list[Path],
    track: Track,
    unreadable: list[str],
) -> Iterator[Image.Image]:
    from van_dense.explain.cam_pages import cam_pages
    from van_dense.explain.pages import readable
    from van_dense.explain.views import attention_pages, features_pages, field_view

    layer = arguments.layer[0] if arguments.layer else None
    images = readable(track(files, total=len(files), what="files"), unreadable)
    if arguments.view == "cam":
        options = {"targets": arguments.target, "layer": layer, "method": arguments.method}
        yield from cam_pages(networks, images, min_score=arguments.min_score, **options)
    elif arguments.view == "attention":
        yield from attention_pages(next(iter(networks.values())), images)
    elif arguments.view == "features":
        yield from features_pages(networks, list(images), layers=arguments.layer, track=track)
    elif found := list(images):
        numbers = arguments.output.with_suffix(".json")
        yield field_view(networks, found, layer=layer, numbers=numbers, track=track)
