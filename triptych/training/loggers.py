"""What is written during a training: checkpoints, history.csv, TensorBoard logs.

Each is an `Observer`: `Session.events` shows it every event of the training.
"""

import io
import re
import time
from csv import DictWriter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..core import files
from ..core.events import (
    BlockTrained,
    EpochEnded,
    Event,
    TrainingCompleted,
    TrainingInterrupted,
)
from ..core.state import State
from ..errors import TriptychError, one_line
from . import checkpoint, tensorboard
from .loop import Training

COLUMNS = ("epoch", "step", "loss", "validation_loss", "validation_accuracy", "rate", "seconds")

SECONDS_BETWEEN_CHECKPOINTS = 10.0  # a kill loses no more than that and a block
SECONDS_BETWEEN_EPOCHS_SAVED = 1.0  # at the end of an epoch, a checkpoint is written after this


class Observer(Protocol):
    """Is shown every event, and changes nothing in the training."""

    def on_event(self, event: Event) -> None:
        """Take an event in."""
        ...

    def close(self) -> None:
        """Close its file."""
        ...


@dataclass(frozen=True)
class CheckpointInterval:
    """How often a checkpoint is written.

    Attributes
    ----------
    steps : int or None
        After every step whose number is a multiple of this one.
    seconds : float or None
        After the block of steps in which so many seconds have passed since the last one.
    """

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, every: int | str) -> "CheckpointInterval":
        """Return what a number of steps, as ``500``, or of seconds, as ``30s``, means.

        Raises
        ------
        TriptychError
            If it is something else, or not above 0.
        """
        text = str(every).strip()
        whole = re.fullmatch(r"\d{1,15}", text)
        if whole and int(text) > 0 and not isinstance(every, bool):
            return cls(steps=int(text))
        number = re.fullmatch(r"(\d{1,15}(\.\d{1,15})?)\s?s", text)
        if number and float(number[1]) > 0:
            return cls(seconds=float(number[1]))
        raise TriptychError(
            f"a checkpoint every {one_line(repr(every), 40)}: give a number of steps, for example "
            "500, or of seconds, for example 30s"
        )


class Checkpoint:
    """Writes ``last/state.safetensors``, from which a run goes on, and ``best/state.safetensors``.

    The best state is written first. If the process is killed between the two, the run goes on from
    the step before, and computes the best state again. The last state names the best one that
    belongs to it, by epoch and SHA-256.

    Parameters
    ----------
    folder : Path
        The run folder.
    training : Training
        Whose state and position are written.
    provenance : dict
        What the states record of their origin.
    best : dict, optional
        ``epoch`` and ``sha256`` of the best state in the folder, of a run that goes on.
    every : CheckpointInterval, optional
        By default within an epoch after ten seconds, and at its end after one.
    """

    def __init__(
        self,
        folder: Path,
        training: Training,
        provenance: dict[str, Any],
        best: dict[str, Any] | None = None,
        every: CheckpointInterval | None = None,
    ) -> None:
        self._folder = folder
        self._every = every
        self._training = training
        self._provenance = provenance
        self._best = best
        self._saved_at = time.monotonic()

    def on_event(self, event: Event) -> None:
        """Write a checkpoint at the end, and after some time within an epoch or at its end."""
        if isinstance(event, TrainingCompleted | TrainingInterrupted) or (
            isinstance(event, BlockTrained | EpochEnded) and self._is_due(event)
        ):
            self.save()

    def _is_due(self, event: BlockTrained | EpochEnded) -> bool:
        at_end = event.step % self._training.planner.steps_per_epoch == 0
        if at_end and isinstance(event, BlockTrained):
            return False  # the epoch's own event is still to come
        seconds = time.monotonic() - self._saved_at
        if self._every is None:
            least = SECONDS_BETWEEN_EPOCHS_SAVED if at_end else SECONDS_BETWEEN_CHECKPOINTS
            return seconds > least
        if self._every.steps is not None:
            return event.step % self._every.steps == 0
        return self._every.seconds is not None and seconds >= self._every.seconds

    def save(self) -> None:
        """Write both states, unless a weight is not finite.

        In that case the next loss is not finite either and ends the training; the older files stay.
        """
        training = self._training
        state = training.engine.state()
        if all(np.isfinite(array).all() for array in state.values()):
            self._save_best()
            position = training.position.to_json()
            self._write("last", state, {"training": position, "best": self._best})
        self._saved_at = time.monotonic()

    def _save_best(self) -> None:
        epoch = self._training.best_epoch
        is_saved = self._best is not None and self._best["epoch"] == epoch
        if self._training.best is not None and not is_saved:
            digest = self._write("best", self._training.best, {"epoch": epoch})
            self._best = {"epoch": epoch, "sha256": digest}

    def _write(self, name: str, state: State, details: dict[str, Any]) -> str:
        """Write a state with its provenance; return its SHA-256."""
        network = self._training.planner.network
        recipe = self._training.recipe
        path = self._folder / name / checkpoint.STATE
        return checkpoint.save_state(path, state, network, recipe, self._provenance | details)

    def close(self) -> None:
        """Do nothing: no file is open."""


class CSVLog:
    """Writes history.csv, one line for each epoch; what was not measured is empty.

    Parameters
    ----------
    folder : Path
        The run folder.
    history : list of dict
        The ``epoch`` events so far, of a run that goes on.
    """

    def __init__(self, folder: Path, history: list[dict[str, Any]]) -> None:
        self._path = path = folder / "history.csv"
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

    def on_event(self, event: Event) -> None:
        """Write the line of an epoch at its end."""
        if isinstance(event, EpochEnded):
            with files.naming(self._path):
                self._writer.writerow(event.to_json())
                self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Writes TensorBoard logs: loss, rate and time of each step, validation after each epoch.

    Parameters
    ----------
    folder : Path
        The run folder.
    events : list of dict
        The logged events so far, of a run that goes on.
    """

    def __init__(self, folder: Path, events: list[dict[str, Any]]) -> None:
        self._writer = tensorboard.summary_writer(folder)
        for event in events:
            self._write(event)

    def on_event(self, event: Event) -> None:
        """Write the figures of an event."""
        self._write(event.to_json())

    def _write(self, event: dict[str, Any]) -> None:
        if event["type"] == "block":
            self._write_block(event)
        elif event["type"] == "epoch":
            for name in ("validation_loss", "validation_accuracy"):
                if event.get(name) is not None:  # not measured, or not finite
                    self._writer.add_scalar(name, event[name], event["step"])

    def _write_block(self, block: dict[str, Any]) -> None:
        first_step = block["step"] - block["steps"] + 1
        for step, loss in enumerate(block["losses"], first_step):
            if loss is not None:  # None if it was not finite
                self._writer.add_scalar("loss", loss, step)
        self._writer.add_scalar("rate", block["rate"], block["step"])
        self._writer.add_scalar("ms_per_step", block["seconds"] * 1e3, block["step"])

    def close(self) -> None:
        """Close the log."""
        self._writer.close()
