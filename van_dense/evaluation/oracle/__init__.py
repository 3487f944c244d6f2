"""Ground truth pushed through transforms, post-processing and evaluator before training."""
