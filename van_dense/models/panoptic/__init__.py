"""Panoptic segmentation: networks that answer for things and stuff at once."""
