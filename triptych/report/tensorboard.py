"""TensorBoard event files, one folder for each row, so that TensorBoard overlays the rows."""

from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import TriptychError
from ..training.run_folder import read_log, read_results
from ..training.tensorboard import summary_writer

Event = dict[str, Any]


def write(folder: Path) -> None:
    """Write loss, accuracy and step time of every row that results.json names, from the log.

    Raises
    ------
    TriptychError
        The folder holds no comparison, or the folder of a row is a link.
    """
    runs = read_results(folder)["runs"]
    rows = {run["seed"]: list(run["rows"]) for run in runs}
    events, _ = read_log(folder)
    with _Writers(folder, rows) as writers:
        for event in events:
            if event["type"] == "block":
                _write_block(writers, event)
            elif event["type"] == "evaluation":
                _write_evaluation(writers, event)


def _write_block(writers: "_Writers", event: Event) -> None:
    """Write the losses of a block of training steps, and the time of a step."""
    seed = event.get("seed")
    row = event.get("row")
    if not event["training"] or not writers.has(seed, row):
        return
    writer = writers.of(seed, row)
    first_step = event["step"] - event["steps"] + 1
    for i, loss in enumerate(event["losses"]):
        if loss is not None:  # None is not finite
            writer.add_scalar("loss", loss, first_step + i)
    writer.add_scalar("ms_per_step", event["seconds"] * 1e3, event["step"])


def _write_evaluation(writers: "_Writers", event: Event) -> None:
    """Write the test accuracy of each row."""
    seed = event.get("seed")
    for row, figures in event["rows"].items():
        if writers.has(seed, row) and figures.get("accuracy") is not None:
            writers.of(seed, row).add_scalar("accuracy", figures["accuracy"], event["step"])


class _Writers:
    """The writers of a run folder, each made at its first use; a context manager closes them."""

    def __init__(self, folder: Path, rows: dict[Any, list[str]]) -> None:
        self._folder = folder
        self._rows = rows
        self._writers: dict[tuple[Any, str], Any] = {}

    def has(self, seed: Any, row: Any) -> bool:
        """Return whether results.json names a row of that seed."""
        return row in self._rows.get(seed, ())

    def of(self, seed: Any, row: Any) -> Any:
        """Return the writer of a row."""
        if (seed, row) not in self._writers:
            self._writers[seed, row] = summary_writer(self._place(seed, row))
        return self._writers[seed, row]

    def _place(self, seed: Any, row: str) -> Path:
        """Return the folder of a row.

        Raises
        ------
        TriptychError
            It is a link, which may lead out of the run folder, where nothing may be written.
        """
        place = self._folder
        parts = [f"seed-{seed}", row] if len(self._rows) > 1 else [row]
        for part in parts:
            place = place / part
            if place.is_symlink():
                reason = "a link, where the folder of a row is needed"
                raise TriptychError(f"{place}: {reason}; remove it")
        return place

    def __enter__(self) -> "_Writers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()
