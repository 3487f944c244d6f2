"""What the commands do with a config: train, evaluate, check, convert."""
