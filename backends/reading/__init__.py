"""Reading trained models of others: ONNX and PyTorch → graph."""
