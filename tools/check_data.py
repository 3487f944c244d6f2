"""Check a data set; the same as ``van-dense check``."""

import sys

from van_dense.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
