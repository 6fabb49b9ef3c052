"""How the work of a kernel is divided among threads.

There are as many shares as threads, and a share is always the same part of the work, so that sums
are added in the same order in every run.
"""

from ..compilation import inlined


@inlined
def share_bounds(share, shares, count):
    """Return where a share of `count` items begins and ends."""
    return share * count // shares, (share + 1) * count // shares
