"""A side that is a function of parameters and inputs, as users of JAX and NumPy write models."""
