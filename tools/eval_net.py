"""Evaluate; the same as ``van-dense eval``."""

import sys

from van_dense.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
