"""The measurements of the differences. Frameworks are imported inside functions only."""
