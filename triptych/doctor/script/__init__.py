"""A user's own PyTorch script for several workers: does it compute what one process computes?"""
