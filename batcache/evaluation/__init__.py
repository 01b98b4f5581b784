"""From a model to numbers and pictures."""
