"""One side that is an ONNX file, computed node by node by ONNX Runtime."""
