"""From a store to a trained model."""
