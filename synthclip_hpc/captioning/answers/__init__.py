"""From what a model says to a caption or a reject."""
