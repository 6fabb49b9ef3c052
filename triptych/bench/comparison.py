"""The comparison: every row is started, proved, trained and timed. A generator of events.

The phases of one seed, each of which returns what it found:

1. `starting.start`: the workers import, while the data may still be read; each row builds the
   network and makes its first step, alone.
2. `proof.prove`: the float64 steps in lockstep, many steps in one call, and the float32 verdict.
3. `timing.train_and_time`: the training in rounds. In each round every row makes the same steps, in
   rotated order, after the others have been idle for 50 ms. If the training ends before 15 rounds
   count, more rounds follow; what they do to the weights is discarded.
4. `results.result`: the figures.
"""

from collections.abc import Generator
from contextlib import ExitStack

from ..core import events, registry
from ..core.events import Event
from ..data.dataset import Dataset
from ..process import machine
from ..process.client import Remote
from ..process.pool import Workers
from .contestants import Settings
from .proof import prove
from .results import Comparison, result
from .starting import start
from .timing import train_and_time


def compare_rows(
    dataset: Dataset, settings: Settings, workers: Workers | None = None
) -> Generator[Event, None, Comparison]:
    """Compare all rows with one seed.

    Parameters
    ----------
    dataset : Dataset
        Every row trains on its training split and is tested on its test split.
    settings : Settings
        What is compared.
    workers : Workers, optional
        The workers of the rows if they were started before, while the data was read.

    Yields
    ------
    Event
        What happened; the last one is the `ResultReady`.

    Returns
    -------
    Comparison
        With the trained states.

    Raises
    ------
    EngineError
        If the reference cannot run, or no second row can.
    """
    settings.network.check_fits(dataset.shape, len(dataset.classes))
    yield events.MachineDescribed(machine.describe(), settings.threads)
    with ExitStack() as stack:
        if workers is None:
            workers = Workers(settings.rows, settings.threads, settings.device)
        with workers:
            started = yield from start(dataset, settings, workers, stack)
        witness = Remote(registry.REFERENCE, "eager", threads=settings.threads)
        stack.callback(witness.close)
        witness.greet()
        proved = yield from prove(dataset, settings, started, witness)
        timed = yield from train_and_time(dataset, settings, started, proved, witness)
        comparison = Comparison(dataset, settings, started, proved, timed)
        yield events.ResultReady(result(comparison))
    return comparison
