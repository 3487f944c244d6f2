"""Whole networks of other code bases, read and written."""
