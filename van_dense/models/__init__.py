"""Models: plain modules with plain arguments."""
