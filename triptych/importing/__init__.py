"""Weights of other programs, as run folders."""
