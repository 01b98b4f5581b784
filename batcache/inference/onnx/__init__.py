"""A model as an ONNX file: written from its weights, and run without torch."""
