"""Top-down pose: heatmaps, their codecs, and suppression by similarity."""
