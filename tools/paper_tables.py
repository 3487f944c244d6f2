"""Print the paper's parameters and GFLOPs beside ours; the code is in ``benchmarks/harness/``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.paper_tables import main

if __name__ == "__main__":
    sys.exit(main())
