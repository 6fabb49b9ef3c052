"""The divergence finder: why two implementations of a model give different numbers."""
