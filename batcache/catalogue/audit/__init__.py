"""What is wrong with a manifest before anything is trained on it."""
