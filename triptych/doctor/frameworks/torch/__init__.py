"""The adapter of PyTorch: `adapter.Adapter` is made of the other modules."""
