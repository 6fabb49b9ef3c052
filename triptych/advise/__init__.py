"""Predicts which engine is the fastest for a network on this machine, and why (docs/map.md)."""
