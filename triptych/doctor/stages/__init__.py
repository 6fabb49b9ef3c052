"""The stages of a training step, each compared on its own."""
