"""Pictures: predictions, ground truth and curves."""
