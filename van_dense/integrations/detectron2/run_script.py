"""Run a training script of Detectron2, unchanged, that knows VAN's yacs section and builders.

python -m van_dense.integrations.detectron2.run_script plain_train_net.py --config-file ...

A yacs file cannot import anything, so something must register the builders before the script
reads it, in each process that the script starts with Detectron2's ``launch`` (``--num-gpus 8``).
A LazyConfig file needs none of this: it imports what it needs.
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Register, then run the script with the remaining arguments, or exit with what is missing."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        raise SystemExit(
            "usage: python -m van_dense.integrations.detectron2.run_script SCRIPT [its arguments]\n"
            "Runs a training script of Detectron2 that knows VAN; see docs/detectron2.md."
        )
    if not Path(sys.argv[1]).is_file():
        raise SystemExit(f"{sys.argv[1]}: no such script; Detectron2's are in its folder tools/")
    try:
        import van_dense.integrations.detectron2 as ours  # registers the builders
    except ModuleNotFoundError as error:
        raise SystemExit(f"error: {error}") from error
    import detectron2.engine

    detectron2.engine.launch = ours.launch
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))  # as Python does for a script
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
