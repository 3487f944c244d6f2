"""Predictions of a trained run for any source: images, arrays, folders, videos, tiles."""
