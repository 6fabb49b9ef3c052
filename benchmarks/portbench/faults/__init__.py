"""Kinds of faults: what users get wrong when they port a model."""
