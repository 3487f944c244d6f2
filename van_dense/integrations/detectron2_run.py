"""Run a training script of Detectron2, unchanged, that knows VAN's yacs section and builders.

python -m van_dense.integrations.detectron2_run plain_train_net.py --config-file ... [options]

A yacs file cannot import anything, so something must register the builders before the script
reads it. Scripts that start several processes themselves (``--num-gpus 2``) do not pass this on to
them: write ``import van_dense.integrations.detectron2`` into the script, or use a LazyConfig file,
which imports what it needs.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Register, then run the script with the remaining arguments.

    Raises:
        SystemExit: When no script is given, or Detectron2 is missing.
    """
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        raise SystemExit(f"usage: {__doc__}")
    if not Path(sys.argv[1]).is_file():
        raise SystemExit(f"{sys.argv[1]}: no such script; Detectron2's are in its folder tools/")
    try:
        import van_dense.integrations.detectron2  # noqa: F401  (registers the builders)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}; docs/detectron2.md says how Detectron2 is built") from error

    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
