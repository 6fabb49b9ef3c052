"""One module for each of Keras' backends: its tensors, gradients and functions."""
