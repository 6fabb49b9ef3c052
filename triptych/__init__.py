"""One network, three engines, proved equal and compared fairly."""

from .version import __version__

__all__ = ["__version__"]
