"""Label maps and saliency: decoders, losses, and prediction of images of any size."""
