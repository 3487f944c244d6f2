"""Train an experiment; the same as ``van-dense train``."""

import sys

from van_dense.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
