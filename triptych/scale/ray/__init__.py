"""Ray as a sweep and a training with several workers use it: its processes, its connection."""
