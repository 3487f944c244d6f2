"""Engine: the training loop and its parts."""
