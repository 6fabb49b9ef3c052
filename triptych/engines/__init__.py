"""The engines: the same network in each framework."""
