"""Convert weights; the same as ``van-dense convert``."""

import sys

from van_dense.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
