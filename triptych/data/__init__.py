"""Data sets: a name or a path in, arrays out."""
