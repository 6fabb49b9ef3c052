"""Data larger than memory: images are read and decoded while an engine computes."""
