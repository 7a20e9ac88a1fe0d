"""The image path as an ONNX file, for machines that run it without torch."""
