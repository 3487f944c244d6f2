"""Tasks: model, data and evaluator wired together."""
