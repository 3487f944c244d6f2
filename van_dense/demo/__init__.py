"""A local page that shows what a trained network predicts, and why."""
