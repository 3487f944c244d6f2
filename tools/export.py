"""Write a run as a file of another runtime; the same as ``van-dense export``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from van_dense.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
