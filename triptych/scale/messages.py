"""What the coordinator of several workers and their processes agree on."""

MOST_WORKERS = 64  # each is a process that imports a framework
LOST = "another worker has ended"  # the error of a worker that has missed another one
STATE_PREFIX = "state/"  # of the arrays of a state in a message that has a plan, too
NEEDS_TORCH = "several workers add their gradients with PyTorch: pip install torch"
