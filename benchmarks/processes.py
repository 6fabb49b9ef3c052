"""Whole processes, started in turn: what they take is theirs from the first instruction to the last."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from triptych.bench.load import Watch
from triptych.bench.rounds import IDLE_SECONDS
from triptych.errors import EngineError
from triptych.process import machine

from .progress import progress
from .timing import Settings


@dataclass(frozen=True)
class Ended:
    """What a process took, in seconds, and what it printed."""

    wall: float
    cpu: float
    output: bytes

    def seconds(self, settings: Settings) -> float:
        return self.cpu if settings.processor_time else self.wall

    def json(self) -> Any:
        return json.loads(self.output)


@dataclass(frozen=True)
class Command:
    """What is started.

    Attributes
    ----------
    key, about : str
    arguments : tuple of str
        Of Python.
    ours : bool
    """

    key: str
    about: str
    arguments: tuple[str, ...]
    ours: bool = False

    def run(self, threads: int) -> Ended:
        """Start it and wait.

        Raises
        ------
        EngineError
            Where it does not end well.
        """
        import resource  # which only Unix has

        environment = machine.environment(threads, "cpu") | {"POLARS_MAX_THREADS": str(threads)}
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        ended = subprocess.run(
            [sys.executable, *self.arguments], capture_output=True, env=environment, check=False
        )
        wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if ended.returncode:
            last = (
                ended.stderr.decode(errors="replace").strip().splitlines() or ["it wrote nothing"]
            )[-1]
            raise EngineError(f"{self.key} ended with status {ended.returncode}: {last}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Ended(wall, cpu, ended.stdout)


def alternate(
    commands: Sequence[Command], settings: Settings
) -> tuple[dict[str, list[Ended]], float]:
    """Start every command in each round, in rotated order, after one round to warm the disk's cache.

    Raises
    ------
    EngineError
        Where one does not end well, or the system does not tell what it used.

    Returns
    -------
    dict of str to list of Ended
    float
        The share of the machine that others used meanwhile.
    """
    if not find_spec("resource"):
        raise EngineError(
            "this system does not tell what a child process used; leave out what starts processes"
        )
    ended: dict[str, list[Ended]] = {command.key: [] for command in commands}
    watch = Watch()
    for number in range(1 + settings.rounds):
        turn = number % len(commands)
        for command in [*commands[turn:], *commands[:turn]]:
            time.sleep(IDLE_SECONDS)
            ended[command.key].append(command.run(settings.threads))
        progress(f"  {number} of {settings.rounds} rounds", passing=True)
    return {key: runs[1:] for key, runs in ended.items()}, watch.share()
