"""What runs an exported model: one class a runtime, numpy at the border, see ``onnx.OnnxBackend``."""
