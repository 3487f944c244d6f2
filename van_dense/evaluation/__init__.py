"""Evaluation: metrics of each task, in one place."""
