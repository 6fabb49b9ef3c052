"""Against what people use instead: every contestant in a process of its own, proved equal, then timed in turn."""
