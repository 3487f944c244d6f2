"""Predict and draw; the same as ``van-dense predict``."""

import sys

from van_dense.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
