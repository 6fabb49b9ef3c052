"""The export of trained networks to other runtimes, and the verification of what was written."""
