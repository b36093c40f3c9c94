"""Everything about an ONNX file that needs no runtime: reading, indexing, finding its head, patching."""
