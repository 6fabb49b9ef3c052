"""The readers, one file for each format."""
