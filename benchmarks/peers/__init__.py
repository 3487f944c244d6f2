"""Other toolkits beside this one: the same images, weights, CPU time and evaluator; see run.py."""
