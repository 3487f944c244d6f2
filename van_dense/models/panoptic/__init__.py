"""Panoptic segmentation: queries that each give a mask and a class, their losses and results."""
