"""What travels between the packages: samples, batches, predictions, and their geometry."""
