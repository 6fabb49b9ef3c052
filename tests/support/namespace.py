"""A network namespace in which there is nothing but loopback: the tests of Ray run in one.

Ray asks an address of cloud providers when it starts, and its processes listen on every interface.
"""

import subprocess
from functools import cache
from importlib.util import find_spec

import pytest

LOOPBACK_ONLY = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


@cache
def why_not() -> str | None:
    """Return why Ray cannot be tried here, or None."""
    if find_spec("ray") is None:
        return "needs Ray: pip install 'triptych[scale]'"
    try:
        done = subprocess.run([*LOOPBACK_ONLY, "true"], capture_output=True, timeout=20)
    except OSError as error:
        return f"needs unshare (Linux): {error}"
    if done.returncode:
        reason = done.stderr.decode().strip()
        return f"needs the right to make a network namespace (unshare -n): {reason}"
    return None


needs_namespace = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
