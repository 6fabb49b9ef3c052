"""Whole processes, started in turn and timed from their first instruction to their last."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import repeat
from typing import Any

from triptych.bench.load import Watch
from triptych.bench.rounds import Dropout, Elapsed, RoundOver, race
from triptych.errors import EngineError
from triptych.process import machine

from .progress import progress
from .timing import Settings


@dataclass(frozen=True)
class Ended:
    """A process that ended.

    Attributes
    ----------
    wall, cpu : float
        Wall time and processor time, in seconds.
    output : bytes
        What it printed.
    """

    wall: float
    cpu: float
    output: bytes

    def seconds(self, settings: Settings) -> float:
        """Return the time that counts."""
        return self.cpu if settings.processor_time else self.wall

    def json(self) -> Any:
        """Return the output, parsed."""
        return json.loads(self.output)


@dataclass(frozen=True)
class Command:
    """A command that is timed.

    Attributes
    ----------
    key, description : str
        Its name, and a few words.
    arguments : tuple of str
        The arguments of Python.
    ours : bool
        Whether it is a command of this project.
    """

    key: str
    description: str
    arguments: tuple[str, ...]
    ours: bool = False

    def run(self, threads: int) -> Ended:
        """Start the process and wait for its end.

        Raises
        ------
        EngineError
            If its status is not 0.
        """
        import resource  # which only Unix has

        environment = machine.environment(threads, "cpu") | {"POLARS_MAX_THREADS": str(threads)}
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, *self.arguments], capture_output=True, env=environment, check=False
        )
        wall = time.perf_counter() - before
        used_after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if ended.returncode:
            lines = ended.stderr.decode(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "it wrote nothing"
            raise EngineError(f"{self.key} ended with status {ended.returncode}: {last}")
        user = used_after.ru_utime - used.ru_utime
        system = used_after.ru_stime - used.ru_stime
        return Ended(wall, user + system, ended.stdout)


def alternate(
    commands: Sequence[Command], settings: Settings
) -> tuple[dict[str, list[Ended]], float]:
    """Start every command in each round, in rotated order.

    One round more comes first, to warm the disk's cache.

    Returns
    -------
    ended : dict of str to list of Ended
        By the key of the command.
    others : float
        The share of the machine that other programs used meanwhile, from 0 to 1.

    Raises
    ------
    EngineError
        If a process ends with an error, or the system does not tell how much time it used.
    """
    if not find_spec("resource"):
        raise EngineError(
            "this system does not tell what a child process used; leave out what starts processes"
        )
    ended: dict[str, list[Ended]] = {command.key: [] for command in commands}

    def run(command: Command, threads: int) -> Elapsed:
        process = command.run(threads)
        ended[command.key].append(process)
        return Elapsed(process.wall, process.cpu)

    watch = Watch()
    rounds = repeat(settings.threads, 1 + settings.rounds)
    for item in race(commands, run, rounds, pid=lambda _: None):
        if isinstance(item, Dropout):
            raise item.error
        if isinstance(item, RoundOver):
            progress(f"  {item.number} of {settings.rounds} rounds", passing=True)
    return {key: processes[1:] for key, processes in ended.items()}, watch.share()
