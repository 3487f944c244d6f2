"""A command of ``van-dense`` with the backbone of the tests, as a script."""

import sys
from importlib import import_module

import helpers.shallow_van  # noqa: F401  registers van_shallow

if __name__ == "__main__":
    sys.exit(import_module(f"van_dense.cli.{sys.argv.pop(1)}").main())
