"""What ``triptych verify RUN`` shows: the progress of the training, and what came of it."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.events import EpochEnded
from ..errors import counted
from .progress import TrainingProgress
from .say import say

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.events import Event
    from ..parity.replay import ReplayResult
    from ..training.saved import SavedRun


def show_replay(
    console: "Console",
    run: Path,
    saved: "SavedRun",
    events: "Generator[Event, None, ReplayResult]",
) -> int:
    """Train a run again with a bar on a terminal; return the exit status.

    Parameters
    ----------
    console : Console
        Where it is shown.
    run : Path
        The run folder.
    saved : SavedRun
        What it holds.
    events : generator
        As `triptych.api.iter_verify_run` returns it.
    """
    epochs = saved.recipe.epochs
    done = len(saved.position.history)
    steps = saved.position.history[0]["step"] if done else max(saved.position.step, 1)
    with TrainingProgress(console, epochs, steps) as progress:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: ReplayResult = end.value
                break
            if not isinstance(event, EpochEnded):  # the epochs are those of the first time
                progress.on_event(event)
    for line in lines_of(result):
        say(console, line)
    if result.damages or not result.equal:
        say(console, f"{run}: not the undisturbed training", "red")
        return 1
    return 0


def lines_of(result: "ReplayResult") -> list[str]:
    """Return what came of a replay, as lines."""
    lines = [f"Damage: {damage}" for damage in result.damages]
    if not result.damages:
        times = ""
        if result.restarts:
            times = f"; the run was interrupted {counted(result.restarts, 'time')}"
        lines.append(f"Log: each of {counted(result.steps, 'step')} once{times}.")
    if result.samples_compared:
        lines.append(f"Samples: compared for {result.samples_compared:,} steps.")
    losses = f"Losses: largest relative difference {result.loss_difference:.1e}"
    if result.first_difference:
        losses += f", the first at step {result.first_difference:,}"
    state = f"Weights and slots: largest relative difference {result.state_difference:.1e}"
    lines += [f"{losses}.", f"{state}."]
    if result.exact and result.equal:
        lines.append("Equal to the bit.")
    elif not result.judged:
        lines.append(
            "Not judged: rounding differs between engines and numbers of workers; a run in float64 "
            "of a network without BatchNorm is."
        )
    elif result.equal:
        lines.append("Equal but for rounding.")
    return lines
