"""Several workers that train one network, started and watched by Ray Train.

The command keeps the training loop and the run folder. Its engine is the workers together: a
request goes to the driver of Ray, from there through a mailbox to all workers, and the answer of
the first worker comes back.
"""
