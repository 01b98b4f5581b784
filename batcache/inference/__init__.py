"""From bags of frames to scores."""
