"""Random and fixed changes of samples, by task."""
