"""``python -m triptych.scale.ray.supervisor DRIVER``: the process between a command and its driver.

It starts the module DRIVER, which uses Ray, and hands its own input on to it. When its input ends,
which the system sees to if the command is killed, or when the driver ends, it ends every process
that the driver has started. SIGTERM has the same effect. It never imports Ray, so that nothing of
Ray can bring it down.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial

from . import family

# Sockets are in this folder, and the paths of sockets must have fewer than 108 characters.
ROOT_OF_SESSIONS = "/tmp"


def main(module: str) -> None:
    """Start the driver; return when it and all that it has started have ended.

    Parameters
    ----------
    module : str
        The driver's module; its argument is the folder for Ray's own files.
    """
    family.adopt_orphans()
    folder = tempfile.mkdtemp(prefix="triptych-ray-", dir=ROOT_OF_SESSIONS)
    driver = subprocess.Popen([sys.executable, "-P", "-m", module, folder], stdin=subprocess.PIPE)
    signal.signal(signal.SIGTERM, partial(_kill, driver))
    threading.Thread(target=_hand_on, args=(driver,), daemon=True).start()
    status = driver.wait()
    family.end_descendants()
    shutil.rmtree(folder, ignore_errors=True)
    # Not sys.exit: the thread may wait for input, whose lock the interpreter would wait for.
    os._exit(min(abs(status), 255))


def _kill(driver: "subprocess.Popen[bytes]", *_: object) -> None:
    """Kill the driver, which `main` waits for; a handler of signals."""
    driver.kill()


def _hand_on(driver: "subprocess.Popen[bytes]") -> None:
    """Write what is read to the driver; at the end of the input kill the driver."""
    assert driver.stdin
    try:
        while chunk := os.read(0, family.BYTES_AT_ONCE):
            driver.stdin.write(chunk)
            driver.stdin.flush()
    except OSError:
        pass  # the driver has ended, and `main` sees it
    driver.kill()


if __name__ == "__main__":
    main(sys.argv[1])
