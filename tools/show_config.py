"""Show a config; the same as ``van-dense show-config``."""

import sys

from van_dense.cli.show_config import main

if __name__ == "__main__":
    sys.exit(main())
