"""Commands in messages."""

import shlex
import subprocess
import sys


def quoted(*words: str) -> str:
    """Return a command as it is typed into the shell of this system."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
