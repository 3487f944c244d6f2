"""Files in and out: images, videos, masks, label maps."""
