"""Measure speed and memory; what is measured is in ``benchmarks/harness/``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.measure import main

if __name__ == "__main__":
    sys.exit(main())
