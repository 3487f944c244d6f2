"""Reports that people decide by: intervals, errors split, comparisons, and the page of them."""
