"""Detectors: pyramid, anchors, proposals, heads, matching and losses."""
