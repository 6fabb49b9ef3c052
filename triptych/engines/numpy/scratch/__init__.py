"""A neural network from scratch in NumPy: every forward beside its backward, every gradient by hand."""
