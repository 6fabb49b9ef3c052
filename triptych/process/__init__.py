"""Worker processes: one engine in each."""
