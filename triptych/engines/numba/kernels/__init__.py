"""The compiled functions of the Numba engine."""
