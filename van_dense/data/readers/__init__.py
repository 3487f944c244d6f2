"""One data set for each format, all of which give untransformed samples."""
