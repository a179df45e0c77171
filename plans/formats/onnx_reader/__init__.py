"""ONNX files as nets of this package's layers."""
