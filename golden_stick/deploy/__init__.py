"""From a slim network to files: slim checkpoints and exported models."""
