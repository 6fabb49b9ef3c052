"""One cell of a sweep, in the process that trains it: a worker of Ray."""

import os
import platform
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...bench import load
from ...core.events import BlockTrained
from ...core.memory import failure_line
from ...core.split import Split
from ...core.state import State
from ...data.dataset import Dataset, Standardised
from ...data.streaming.packing import pack_stream, unpack_stream
from ...data.streaming.split import StreamedSplit
from ...errors import TriptychError
from ...spec.network import Network
from ...spec.recipe import Recipe
from ...training.session import Session, Settings
from ...version import __version__

Json = dict[str, Any]

MOST_ATTEMPTS_TO_TIME = 3  # of a timed cell on a busy node; then the calmest one counts
SECONDS_FOR_CALM = 20.0  # the longest wait for a calm node before another attempt

# The data sets that this process has been given, by digest: a worker trains many cells.
_datasets: dict[str, Dataset] = {}


def pack(dataset: Dataset) -> tuple[Json, State]:
    """Return what a worker needs of a data set: a JSON object and named arrays."""
    values: Json = {
        "name": dataset.name,
        "source": dataset.source,
        "classes": list(dataset.classes),
        "table": None if dataset.table is None else dataset.table.describe(),
    }
    train = dataset.train
    test = dataset.test
    if isinstance(train, StreamedSplit) and isinstance(test, StreamedSplit):
        values["stream"], arrays = pack_stream(train, test)
        return values, arrays
    arrays = {
        "train/images": train.images,
        "train/labels": train.labels,
        "test/images": test.images,
        "test/labels": test.labels,
    }
    return values, arrays


def unpack(values: Mapping[str, Any], arrays: State) -> Dataset:
    """Return the data set that `pack` packed."""
    table = values["table"]
    known = None
    if "stream" in values:
        train, test = unpack_stream(values["stream"], arrays)
        known = train.stream.findings.facts
    else:
        train = Split(arrays["train/images"], arrays["train/labels"])
        test = Split(arrays["test/images"], arrays["test/labels"])
    return Dataset(
        name=values["name"],
        source=values["source"],
        train=train,
        test=test,
        classes=tuple(values["classes"]),
        table=None if table is None else Standardised.from_json(table),
        known=known,
    )


def run_cell(cell: Json, packed: tuple[Json, State]) -> Json:
    """Train and test one cell; return what is recorded of it.

    Parameters
    ----------
    cell : dict
        As `triptych.scale.sweep.grid.Cell.to_json` returns it.
    packed : tuple of (dict, dict of str to ndarray)
        Its data, as of `pack`.

    Returns
    -------
    dict
        ``status`` is ``finished`` or ``failed``; then ``error`` is a line. The other keys are
        columns of the Parquet file (docs/sweeps.md).
    """
    begun = time.perf_counter()
    record: Json = {
        "node": platform.node(),
        "pid": os.getpid(),
        "version": __version__,
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    try:
        digest = cell["data_digest"]
        if digest not in _datasets:
            _datasets.clear()  # cells of one data set follow each other
            _datasets[digest] = unpack(*packed)
        if cell["timed"]:
            record |= _timed(cell, _datasets[digest])
        else:
            record |= _trained(cell, _datasets[digest])
        record["status"] = "finished"
    except Exception as error:
        # The other cells go on, whatever went wrong in this one.
        record |= {"status": "failed", "error": failure_line(error)}
    return record | {"cell_seconds": time.perf_counter() - begun}


def _trained(cell: Json, dataset: Dataset) -> Json:
    """Train and test once."""
    network = Network.from_json(cell["network_json"])
    recipe = Recipe.from_json(cell["recipe_json"])
    settings = Settings(cell["engine"], cell["backend"], "cpu", cell["threads"])
    session = Session(settings, network, recipe, dataset, runs=None)
    blocks = [event for event in session.events() if isinstance(event, BlockTrained)]
    result = session.result
    if result is None:
        raise TriptychError("the training ended before its last step")
    accuracy = result["accuracy"]
    history = result["history"]
    return {
        "accuracy": accuracy["value"],
        "right": accuracy["right"],
        "tested": accuracy["of"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "loss": history[-1]["loss"],
        "epochs": len(history),
        "steps": result["steps"],
        "seconds": result["seconds"],
        "cpu_seconds": result["cpu_seconds"],
        "first_step_seconds": blocks[0].seconds,
        "step_seconds": steady_step(blocks),
    }


def steady_step(blocks: list[BlockTrained]) -> float | None:
    """Return the median time of a step in seconds, without the first block, which compiles.

    Each block counts as often as it has steps. None if there is one block only.
    """
    seconds = [block.seconds for block in blocks[1:] for _ in range(block.steps)]
    return statistics.median(seconds) if seconds else None


def _timed(cell: Json, dataset: Dataset) -> Json:
    """Train until the node was calm meanwhile, at most three times; return the calmest training.

    The result has ``others``, the share of the node that other programs used, ``busy``, whether
    that is too much for a time, and ``attempts``.
    """
    best: Json = {}
    for attempt in range(1, MOST_ATTEMPTS_TO_TIME + 1):
        watch = load.Watch()
        time.sleep(load.SECONDS_OF_A_LOOK)  # a training of milliseconds tells nothing of the load
        record = _trained(cell, dataset)
        record |= {"others": watch.share(), "load": _load_average()}
        if not best or record["others"] < best["others"]:
            best = record
        best |= {"attempts": attempt, "busy": best["others"] > load.LARGEST_SHARE_OF_OTHERS}
        if not best["busy"]:
            return best
        if attempt < MOST_ATTEMPTS_TO_TIME:
            _wait_for_calm()
    return best


def _wait_for_calm() -> None:
    """Wait until other programs use little of the node, but not for long."""
    end = time.monotonic() + SECONDS_FOR_CALM
    while time.monotonic() < end:
        if load.others_now() <= load.LARGEST_SHARE_OF_OTHERS:
            return


def _load_average() -> float | None:
    """Return how many processes were ready to run in the last minute, on average."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
