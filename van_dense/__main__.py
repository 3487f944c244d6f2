"""``python -m van_dense`` is ``van-dense``."""

import sys

from van_dense.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
