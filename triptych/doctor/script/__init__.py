"""A PyTorch script of a user: whether several workers compute what one process does."""
