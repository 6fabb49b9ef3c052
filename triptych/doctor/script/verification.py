"""Runs a script with one process and with several, and compares them, as events."""

import re
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core import events
from ...core.events import Event
from ...errors import TriptychError, counted, one_line
from .comparison import compare
from .launch import Processes, ScriptFailed, Server
from .records import Run, Settings

STEPS = 100
MOST_STEPS = 10_000  # each is a file of up to some megabytes
SECONDS_WITHOUT_STEP = 300.0
_DIVIDED = re.compile(r"\{(\d{1,12})/workers\}")
_WORKERS = "{workers}"


def arguments_for(arguments: Sequence[str], workers: int) -> list[str]:
    """Return the arguments of the script for a number of workers.

    Parameters
    ----------
    arguments : sequence of str
        ``{workers}`` in them is the number of workers, ``{64/workers}`` is 64 divided by it.
    workers : int
        How many there are.

    Raises
    ------
    TriptychError
        If such a number is not whole.
    """

    def divided(found: "re.Match[str]") -> str:
        whole = int(found.group(1))
        if whole % workers:
            raise TriptychError(
                f"{found.group()}: {workers} workers do not divide {whole}; choose a number that "
                "all numbers of workers divide"
            )
        return str(whole // workers)

    return [_DIVIDED.sub(divided, each).replace(_WORKERS, str(workers)) for each in arguments]


@dataclass(frozen=True)
class Script:
    """A script, and how it is run.

    Attributes
    ----------
    path : Path
        The script.
    arguments : sequence of str
        Its arguments; see `arguments_for`.
    steps : int
        How many updates are compared.
    double : bool
        Whether it computes in double precision.
    threads : int
        Threads of each process.
    timeout : float
        Seconds without a step after which it counts as hanging.
    """

    path: Path
    arguments: Sequence[str] = ()
    steps: int = STEPS
    double: bool = False
    threads: int = 1
    timeout: float = SECONDS_WITHOUT_STEP

    def settings(self, folder: Path, workers: int, *, moved: bool = False) -> Settings:
        """Return the settings of a run, which writes into a folder that is created."""
        folder.mkdir()
        return Settings(
            str(self.path.resolve()),
            arguments_for(self.arguments, workers),
            str(folder),
            workers,
            self.steps,
            self.double,
            moved,
        )


def verify_script(script: Script, counts: Sequence[int]) -> Generator[Event]:
    """Run a script with one process and with others, and compare them.

    Parameters
    ----------
    script : Script
        The script.
    counts : sequence of int
        Numbers of workers; with 1, the script is run again with one process.

    Yields
    ------
    Event
        `ScriptStarted` and `ScriptStep` of each run, and for each number of workers
        `ScriptCompared` or `ScriptFailed`. If one process fails, nothing is compared.

    Raises
    ------
    TriptychError
        If there is no such script, PyTorch is not installed, or arguments do not fit.
    """
    check(script, counts)
    with Server(script.threads) as server:
        yield from compare_with(server, script, counts)


def check(script: Script, counts: Sequence[int]) -> None:
    """Raise a `TriptychError` if there is no such script, or its arguments do not fit."""
    if not script.path.is_file():
        raise TriptychError(f"{one_line(script.path)}: no such file")
    for count in (1, *counts):
        arguments_for(script.arguments, count)


def compare_with(server: Server, script: Script, counts: Sequence[int]) -> Generator[Event]:
    """Do what `verify_script` does, with a server that may be used again.

    Parameters
    ----------
    server : Server
        Starts the processes.
    script, counts
        As of `verify_script`.
    """
    with tempfile.TemporaryDirectory(prefix="triptych-") as folder:
        parent = Path(folder)
        try:
            reference = script.settings(parent / "reference", 1)
            single = yield from _run(server, script, reference, "reference")
            rounding = script.settings(parent / "rounding", 1, moved=True)
            moved = yield from _run(server, script, rounding, "rounding")
        except ScriptFailed as error:
            yield events.ScriptFailed(1, str(error), error.lines)
            return
        for count in dict.fromkeys(counts):
            settings = script.settings(parent / f"workers-{count}", count)
            try:
                other = yield from _run(server, script, settings, "comparison")
            except ScriptFailed as error:
                yield events.ScriptFailed(count, str(error), error.lines)
                continue
            yield _compared(single, moved, other)


def _run(
    server: Server, script: Script, settings: Settings, purpose: str
) -> Generator[Event, None, Run]:
    """Run the script once."""
    yield events.ScriptStarted(settings.workers, purpose)
    with Processes(server, settings) as processes:
        run = yield from processes.wait(script.timeout)
    _check(run, script.path.name)
    return run


def _check(run: Run, name: str) -> None:
    """Raise an error if a run cannot be compared."""
    workers = counted(run.workers, "worker")
    if run.workers > 1 and not all(facts["group"] for facts in run.facts):
        raise ScriptFailed(
            f"{name}, {workers}: it never called torch.distributed.init_process_group, so each "
            "process trains alone; a script for several workers reads RANK and WORLD_SIZE, as "
            "torchrun sets them"
        )
    if not any(run.counts):
        known = "a model was trained" if run.facts[0]["forward"] else "no model was trained"
        raise ScriptFailed(
            f"{name}, {workers}: it ended without an update of the weights ({known}); the "
            "step() of an optimizer of torch.optim is recorded, in the process that was started"
        )
    if not all(run.counts):
        made = ", ".join(map(str, run.counts))
        raise ScriptFailed(
            f"{name}, {workers}: the workers have made {made} updates; all of them must call the "
            "optimizer's step()"
        )


def _compared(single: Run, moved: Run, other: Run) -> events.ScriptCompared:
    comparison = compare(single, moved, other)
    return events.ScriptCompared(
        comparison.workers,
        comparison.steps,
        comparison.compared,
        comparison.dtype,
        comparison.samples,
        comparison.worst,
        comparison.bounds,
        comparison.identical,
        comparison.verdict,
        [finding.to_json() for finding in comparison.findings],
        comparison.notes,
    )
