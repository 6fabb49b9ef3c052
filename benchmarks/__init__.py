"""Our engines against what people use instead: proved equal, then timed in turn."""
