"""Trained networks behind HTTP: ``triptych serve``."""
