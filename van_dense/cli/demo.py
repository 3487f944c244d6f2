"""Show on a local page what a trained network predicts, and why.

van-dense demo RUN                          prints an address to open in a browser
van-dense demo RUN --examples photos/       offers images of a folder
van-dense demo model.onnx --open            an exported file, and opens the browser

Drop an image on the page, move the threshold, click on what was found. The page answers this
machine alone (127.0.0.1), keeps images in memory and sends nothing anywhere. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import signal
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser, wait_passively

if TYPE_CHECKING:
    from van_dense.demo.server import DemoServer

_LAST_SECONDS = 30  # that a prediction may take to end after Ctrl-C


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C, which is the only end; its exit code is 130 as everywhere."""
    arguments = _parse(argv)
    wait_passively()
    from van_dense.engine.interrupt import STOPPED

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = _open(arguments)
        say(f"{server.session.title}: {server.url} (Ctrl-C ends it)")
        if arguments.open and not webbrowser.open(server.url):
            say("no browser could be opened; open the address in one")
        _serve(server)
    except KeyboardInterrupt:
        say("stopped")
    return STOPPED


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("demo", __doc__)
    parser.add_argument("run", metavar="RUN", help="run folder, checkpoint or exported file")
    images = "folder or pattern of images to offer (default: of the run's validation part)"
    parser.add_argument("--examples", metavar="DIR", help=images)
    port = "port on this machine, 1..65535 (default: a free one)"
    parser.add_argument("--port", type=int, default=0, help=port)
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    browser = parser.add_mutually_exclusive_group()
    browser.add_argument("--open", action="store_true", help="open the page in a browser")
    browser.add_argument(
        "--no-browser", action="store_true", help="only print the address (the default)"
    )
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port <= 65535:
        parser.error(f"--port is {arguments.port}; ports are 1..65535")
    return arguments


def _open(arguments: argparse.Namespace) -> DemoServer:
    from van_dense.api import load
    from van_dense.demo.examples import Examples
    from van_dense.demo.server import DemoServer
    from van_dense.demo.session import Session

    examples = None if arguments.examples is None else Examples.of_folder(arguments.examples)
    # Detectron2's layers cannot be explained; the same network of torchvision can.
    loaded = load(arguments.run, device=arguments.device, engine="torchvision")
    title = Path(arguments.run).resolve().name
    session = Session(loaded, examples or Examples.of_run(loaded), title)
    return DemoServer(session, arguments.port)


def _serve(server: DemoServer) -> None:
    """Serve until Ctrl-C, and let a prediction that is on its way end before the program does."""
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
        server.session.busy.acquire(timeout=_LAST_SECONDS)
