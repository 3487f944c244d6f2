"""Panoptic segmentation."""
