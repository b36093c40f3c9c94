"""ONNX files, without a runtime: reads and indexes a model, finds its head, and builds patches for it."""
