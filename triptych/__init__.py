"""One network, three engines, proved equal and compared fairly."""

__version__ = "0.1.0"
