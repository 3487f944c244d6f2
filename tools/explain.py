"""Look into a network; the same as ``van-dense explain``."""

import sys

from van_dense.cli.explain import main

if __name__ == "__main__":
    sys.exit(main())
