"""Trained networks as files that other runtimes run: what is computed, written and read."""
