"""Which engine is fastest for a network on this machine, and why: counted, calibrated, fitted (docs/map.md)."""
