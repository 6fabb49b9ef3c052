"""One side that is a network of Triptych, computed by one of its engines."""
