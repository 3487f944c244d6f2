"""What tools/benchmark.py measures, with a plain eager VAN to compare with."""
