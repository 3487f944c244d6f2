"""Data: readers, transforms and loaders."""
