"""Pairs of ports with known faults: they are generated, checked by training, and score tools."""
