"""What is wrong with a data set: one file for each format."""
