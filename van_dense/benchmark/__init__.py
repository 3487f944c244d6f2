"""Speed and memory of the toolkit, measured as ratios within one run: tools/benchmark.py."""
