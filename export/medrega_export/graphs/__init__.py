"""ONNX graphs of the vision tower and the decoder, and their numerical error."""
