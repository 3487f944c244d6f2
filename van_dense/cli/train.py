"""Train, evaluate and draw an experiment.

van-dense train --config maskrcnn_van_b2 --sample                    generated data, no download
van-dense train --config my.yaml train.batch_size=8 --output runs/mine
van-dense train --config my.yaml --resume                            after an interruption
torchrun --nproc-per-node 8 -m van_dense train --config maskrcnn_van_b2
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from van_dense.cli.output import command, say
from van_dense.cli.parser import new_parser, wait_passively
from van_dense.config.ready import lacks_config, ready_config


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = new_parser("train", __doc__)
    config = "project file, or the name of a packaged project (van-dense projects)"
    parser.add_argument("--config", required=True, metavar="PROJECT", help=config)
    parser.add_argument("--output", help="run folder (default: runs/<name of the project file>)")
    parser.add_argument("--sample", action="store_true", help="small generated data, short run")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="on top of the file")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Train; the exit code is 0 when the run is complete, 130 when it was interrupted."""
    parser = build_parser()
    arguments = parser.parse_intermixed_args(argv)
    if arguments.output is None and Path(arguments.config).name == "config.yaml":
        parser.error(f"{arguments.config} is the config of a run; name this one's with --output")
    if arguments.resume and lacks_config(Path(arguments.config)):
        from van_dense.runs.training import restore_config

        restore_config(Path(arguments.config).parent)
    config = ready_config(arguments.config, arguments.overrides, sample=arguments.sample)

    wait_passively()
    # Only now torch: a mistake above is reported at once.
    from van_dense.data.io.outputs import require_folder
    from van_dense.engine.interrupt import STOPPED
    from van_dense.runs.training import begin_run, plan_run

    name = Path(arguments.config).stem + ("_sample" if arguments.sample else "")
    run_dir = Path(arguments.output or f"runs/{name}")
    require_folder(run_dir)
    if arguments.dry_run:
        say(f"{'run folder:':<20}{run_dir}\n{plan_run(config)}")
        return 0
    result = begin_run(config, run_dir, resume=arguments.resume)
    if result.interrupted:
        return STOPPED
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several of us
        say(f"results and curves: {run_dir}", *pictures_of(run_dir, result.step), sep="\n")
    return 0


def pictures_of(run_dir: Path, step: int) -> list[str]:
    """Paths of the pictures of an evaluation and of the curves, a line each."""
    from van_dense.engine.checkpoint import evaluation_folder

    drawn = (evaluation_folder(run_dir, step) / "pictures").glob("*.png")
    return [f"  {path}" for path in (*sorted(drawn), run_dir / "curves.png") if path.exists()]
