"""Events in one line each, for ``progress=True``."""

from typing import Any

from .core import events
from .core.events import Event
from .errors import counted
from .scale.sweep.summary import cell_name


def epoch_line(epoch: dict[str, Any], epochs: int) -> str:
    """Return the figures of an epoch.

    Parameters
    ----------
    epoch : dict
        An ``epoch`` event as JSON, as in the history of a training.
    epochs : int
        Epochs of the whole training.
    """
    validation = ""
    if "validation_loss" in epoch:
        validation = f", validation loss {epoch['validation_loss']:.4f}"
        validation += f", validation accuracy {epoch['validation_accuracy']:.2%}"
    return (
        f"epoch {epoch['epoch']}/{epochs}: loss {epoch['loss']:.4f}{validation}, "
        f"rate {epoch['rate']:.3g}, {epoch['seconds']:.3g} s"
    )


def line_of(event: Event, epochs: int) -> str | None:
    """Return what an event of a training, comparison or verification means, or None for details.

    Parameters
    ----------
    event : Event
        The event.
    epochs : int
        Epochs of the recipe.
    """
    match event:
        case events.EpochEnded():
            return epoch_line(event.to_json(), epochs)
        case events.RateCut():
            return f"epoch {event.epoch}: the learning rate is cut to {event.base_rate:.3g}"
        case events.StoppedEarly():
            return f"epoch {event.epoch}: stopped early, {event.why}"
        case events.SeedStarted(seeds=1):
            return None
        case events.SeedStarted():
            return f"seed {event.seed}, {event.number} of {event.seeds}"
        case events.Evaluated():
            return f"step {event.step:,}: test accuracy {_accuracies(event)}"
        case events.SweepStarted() | events.ClusterReady() | events.SweepEnded():
            return _sweep_line(event)
        case events.CellEnded():
            return cell_line(event.cell)
        case events.CellRetried():
            return f"{event.cell}: {event.why}; it is run again, attempt {event.attempt}"
        case _:
            return _row_line(event)


def _sweep_line(event: Event) -> str | None:
    """Return what an event of a sweep as a whole means."""
    match event:
        case events.SweepStarted():
            done = f", {len(event.finished):,} finished before" if event.finished else ""
            return f"{counted(len(event.cells), 'cell')}{done}"
        case events.ClusterReady():
            places = [f"{node['name']} ({node['processors']})" for node in event.nodes]
            return f"Ray {event.ray}; processors of each node: {', '.join(places)}"
        case events.SweepEnded():
            return f"{event.finished:,} finished, {event.failed:,} failed"
        case _:
            return None


def cell_line(cell: dict[str, Any]) -> str:
    """Return what came of a cell of a sweep.

    Parameters
    ----------
    cell : dict
        As in a `triptych.core.events.CellEnded` event.
    """
    name = cell_name(cell)
    if cell["status"] != "finished":
        return f"{name}: failed, {cell['error']}"
    figures = f"accuracy {cell['accuracy']:.2%}"
    if cell["timed"]:
        figures += f", {cell['seconds']:.3g} s"
    if cell.get("busy"):
        figures += f" on a busy node (others used {cell['others']:.0%})"
    return f"{name}: {figures}"


def _row_line(event: Event) -> str | None:
    """Return what an event of one row or of several workers means."""
    match event:
        case events.WorkersRestarted():
            return (
                f"{event.why}; all workers are started again, and go on from step {event.step:,} "
                f"({counted(event.again, 'step')} again)"
            )
        case events.WorkerImporting():
            return f"{event.row}: importing"
        case events.RowFailed() | events.RowMissing():
            return f"{event.row}: {event.why}"
        case events.Float64Judged():
            return f"{event.row}: {event.unproved or 'equal in float64'}"
        case events.Float32Judged() | events.RoundingJudged():
            return f"{event.row}: float32 verdict {event.verdict}"
        case events.RowCompared():
            difference = event.divergence or event.block_divergence
            return f"{event.row}: {difference or f'equal, {event.largest:.0e} at most'}"
        case events.WorkersRefused():
            return f"{event.row}, {counted(event.workers, 'worker')}: {event.why}"
        case events.WorkersCompared():
            verdict = "equal" if event.equal else event.divergence or "the workers differ"
            workers = counted(event.workers, "worker")
            return f"{event.row}, {workers}: {verdict}, {event.largest:.0e} at most"
        case _:
            return _script_line(event)


def _script_line(event: Event) -> str | None:
    """Return what an event of a script with several workers means."""
    match event:
        case events.ScriptCompared():
            first = event.findings[0] if event.findings else {}
            where = f" at step {first['step']}, {first['stage']}" if first else ""
            return f"{counted(event.workers, 'worker')}: {event.verdict}{where}"
        case events.ScriptFailed():
            return f"{counted(event.workers, 'worker')}: {event.why}"
        case _:
            return None


def _accuracies(event: events.Evaluated) -> str:
    return ", ".join(f"{key} {row['accuracy']:.2%}" for key, row in event.rows.items())
