"""What is written down while a training goes on: checkpoints, history.csv, TensorBoard logs. Each sees the events of the loop."""

import io
import time
from csv import DictWriter
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..core import files
from ..spec.monitor import Event
from . import checkpoint, tensorboard
from .loop import Training

COLUMNS = ("epoch", "step", "loss", "validation_loss", "validation_accuracy", "rate", "seconds")

EVERY = 10.0  # seconds between checkpoints: a kill loses no more than that and a block
RARELY = 1.0  # seconds that lie between two ends of epochs that are both written down, at the least


class Observer(Protocol):
    """Sees what happens, and changes nothing."""

    def see(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Checkpoint:
    """Writes ``last/state.safetensors``, from which a run goes on, and ``best/state.safetensors``.

    The best is written first: where a kill comes between the two, the run goes on from before it, and meets it again.
    The last names the best that belongs to it by epoch and SHA-256.

    Parameters
    ----------
    folder : Path
    training : Training
    provenance : dict
    best : dict, optional
        ``epoch`` and ``sha256`` of the best that is in the folder, of a run that goes on.
    """

    def __init__(
        self,
        folder: Path,
        training: Training,
        provenance: dict[str, Any],
        best: dict[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._training = training
        self._provenance = provenance
        self._best = best
        self._written = time.monotonic()

    def see(self, event: Event) -> None:
        kind, waited = event["type"], time.monotonic() - self._written
        # The last block of an epoch is not yet its end: what the epoch came to is still to be logged.
        within = kind == "block" and event["step"] % self._training.schedule.steps_per_epoch
        if (
            kind in ("trained", "interrupted")
            or (within and waited > EVERY)
            or (kind == "epoch" and waited > RARELY)
        ):
            self.save()

    def save(self) -> None:
        """Write both, unless a weight is not finite: then the next loss says so, and the files before it stay."""
        training, state = self._training, self._training.engine.state()
        if all(np.isfinite(array).all() for array in state.values()):
            epoch = training.best_epoch
            if training.best is not None and (self._best is None or self._best["epoch"] != epoch):
                self._best = {
                    "epoch": epoch,
                    "sha256": self._write("best", training.best, {"epoch": epoch}),
                }
            self._write(
                "last", state, {"training": training.position.to_json(), "best": self._best}
            )
        self._written = time.monotonic()

    def _write(self, name: str, state: dict[str, np.ndarray], about: dict[str, Any]) -> str:
        network, recipe = self._training.schedule.network, self._training.recipe
        path = self._folder / name / "state.safetensors"
        return checkpoint.save_state(path, state, network, recipe, self._provenance | about)

    def close(self) -> None:
        pass


class CSVLog:
    """Writes history.csv, a line an epoch; what was not measured is empty.

    Parameters
    ----------
    folder : Path
    history : list of dict
        The ``epoch`` events so far, of a run that goes on.
    """

    def __init__(self, folder: Path, history: list[Event]) -> None:
        path = self._path = folder / "history.csv"
        start = io.StringIO()
        writer: DictWriter[str] = DictWriter(
            start, COLUMNS, extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(history)
        files.write(path, start.getvalue())
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer: DictWriter[str] = DictWriter(
            self._file, COLUMNS, extrasaction="ignore", lineterminator="\n"
        )

    def see(self, event: Event) -> None:
        if event["type"] == "epoch":
            with files.naming(self._path):
                self._writer.writerow(event)
                self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Writes TensorBoard logs into the run folder: loss, rate and time of each step, what was looked at after each epoch.

    Parameters
    ----------
    folder : Path
    events : list of dict
        So far, of a run that goes on.
    """

    def __init__(self, folder: Path, events: list[Event]) -> None:
        self._writer = tensorboard.summary_writer(folder)
        for event in events:
            self.see(event)

    def see(self, event: Event) -> None:
        if event["type"] == "block":
            for at, loss in enumerate(event["losses"], event["step"] - event["steps"] + 1):
                if loss is not None:  # not finite
                    self._writer.add_scalar("loss", loss, at)
            self._writer.add_scalar("rate", event["rate"], event["step"])
            self._writer.add_scalar("ms_per_step", event["seconds"] * 1e3, event["step"])
        elif event["type"] == "epoch":
            for name in ("validation_loss", "validation_accuracy"):
                if event.get(name) is not None:  # not measured, or not finite
                    self._writer.add_scalar(name, event[name], event["step"])

    def close(self) -> None:
        self._writer.close()
