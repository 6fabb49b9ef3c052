"""Commands that use Ray, each in a network namespace that has nothing but loopback.

Their processes are found by their parents while they run, and none of them may be there afterwards.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
from support.commands import TRIPTYCH, environment, wait_until
from support.namespace import LOOPBACK_ONLY

SECONDS_FOR_A_COMMAND = 240
SECONDS_TO_END = 30


class RayCommand:
    """A command of triptych in a namespace, with a home of its own.

    Parameters
    ----------
    folder : Path
        Its working directory.
    *arguments : str
        The words of the command.
    before : tuple of str
        Words in front of the command, inside of the namespace.
    """

    def __init__(self, folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> None:
        (folder / "home").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [*LOOPBACK_ONLY, *before, sys.executable, *TRIPTYCH, *arguments],
            cwd=folder,
            env=environment(folder, HOME=str(folder / "home"), TMPDIR=str(folder)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.seen: set[psutil.Process] = set()

    def family(self) -> list[psutil.Process]:
        """Return the processes below the command; those that were ever seen are remembered."""
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self.seen |= set(found)
        return found

    def named(self, text: str) -> list[psutil.Process]:
        """Return the processes whose command line has a text in it."""
        found: list[psutil.Process] = []
        for process in self.family():
            try:
                if text in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def running(self, module: str) -> list[psutil.Process]:
        """Return the processes that run a module."""
        words = ["-m", module]
        return [process for process in self.family() if process.cmdline()[2:4] == words]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is true, and look at the processes meanwhile."""

        def look() -> object:
            self.family()
            assert self.process.poll() is None, self.process.communicate()
            return condition()

        wait_until(look, SECONDS_FOR_A_COMMAND)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return the status, the output and the errors."""
        output, errors = self.process.communicate(timeout=SECONDS_FOR_A_COMMAND)
        return self.process.returncode, output, errors

    def assert_none_left(self) -> None:
        """Fail if a process that was ever seen is still there."""
        _, alive = psutil.wait_procs(list(self.seen), timeout=SECONDS_TO_END)
        assert [process.cmdline() for process in alive] == []

    def clean(self) -> None:
        """End all that a failed test has left."""
        self.family()
        for process in [*self.seen, self.process]:
            try:
                process.send_signal(signal.SIGKILL)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        self.process.communicate()


def is_loopback(address: str) -> bool:
    """Return whether an address never leaves this machine."""
    return address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")


# The namespace has an address of a network, too, and a default route.
WITH_A_NETWORK = 'ip addr add 10.1.1.1/24 dev lo; ip route add default dev lo; exec "$@"'
LOOPBACK_IN_PROC = {"0100007F", "0000000000000000FFFF00000100007F"}
LISTENING = "0A"


def listening_addresses(process: psutil.Process) -> set[str]:
    """Return at which addresses anything listens in the namespace of a process, as in /proc."""
    assert "10.1.1.1" in Path(f"/proc/{process.pid}/net/fib_trie").read_text()
    lines: list[str] = []
    for table in ("tcp", "tcp6"):
        lines += Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {field[1].partition(":")[0] for field in fields if field[3] == LISTENING}
