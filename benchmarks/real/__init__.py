"""Small real data sets and pretrained weights; see README.md."""
