"""How many optimiser steps make an epoch."""


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Full batches of one epoch; a data set smaller than a batch gives one."""
    return max(1, num_images // batch_size)
