"""ONNX files: the wire format, the messages, and the arrays in them."""
