"""The progress of a training: a bar on a terminal, and lines for about fifty epochs."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from ..core.events import BlockTrained, EpochEnded, Event
from ..core.metrics import interval_text, unlearned
from ..errors import SpecError
from ..progress import line_of
from ..spec.losses import Loss, SoftmaxCrossEntropy
from ..spec.recipe import Recipe
from ..spec.serialization import loss_from_json
from .say import say

LINES = 50
LONGEST_BAR = 40
SPEED_ESTIMATE_SECONDS = 300.0  # long enough for steps that take a minute
SHORTEST_BAR = 5


class TrainingProgress:
    """Shows the events of a training. A context manager.

    Parameters
    ----------
    console : Console
        Where the bar is shown.
    epochs : int
        Number of epochs in the run.
    steps : int
        Number of steps in an epoch.
    step : int
        Number of steps that were made before, in a run that is resumed.
    """

    def __init__(self, console: Console, epochs: int, steps: int, step: int = 0) -> None:
        self.console = console
        self.epochs = epochs
        self.steps = steps
        self._bar_column = BarColumn(LONGEST_BAR)
        columns = (
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            self._bar_column,
            TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
        )
        self._bar = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=SPEED_ESTIMATE_SECONDS,
        )
        self._task = self._bar.add_task(
            "first step, compilation included", total=epochs * steps, completed=step, figures=""
        )
        self._accuracy: list[str] = []

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def on_event(self, event: Event) -> None:
        """Show what happened in a training."""
        if isinstance(event, BlockTrained):
            self._show_block(event)
        if isinstance(event, EpochEnded):
            if event.validation_accuracy is not None:
                self._accuracy = [f"validation accuracy {event.validation_accuracy:.2%}"]
            if event.epoch % max(1, self.epochs // LINES) and event.epoch != self.epochs:
                return
        line = line_of(event, self.epochs)
        if line is not None:
            say(self.console, line)

    def _show_block(self, block: BlockTrained) -> None:
        within = block.step - (block.epoch - 1) * self.steps
        description = f"epoch {block.epoch}/{self.epochs}, step {within}/{self.steps}"
        figures = [f"loss {block.losses[-1]:.4f}", *self._accuracy, f"rate {block.rate:.3g}"]
        shown = self._fitting(description, figures)
        self._bar.update(self._task, description=description, completed=block.step, figures=shown)

    def _fitting(self, description: str, figures: list[str]) -> str:
        """Return as many of the figures as fit into a line, and set the length of the bar.

        The time left is never cut: figures are left out from the end, the rate first.

        Parameters
        ----------
        description : str
            What is at the left of the bar.
        figures : list of str
            The most important first.
        """
        hours = round(self._bar.tasks[0].time_remaining or 0.0) // 3600
        time_width = len(f"{hours + 1}:00:00")  # one hour more, because the estimate still changes
        free = self.console.width - len(description) - time_width - 3  # a space between two columns
        figures = list(figures)
        while figures and len(", ".join(figures)) > free - SHORTEST_BAR:
            figures.pop()
        text = ", ".join(figures)
        self._bar_column.bar_width = max(SHORTEST_BAR, min(LONGEST_BAR, free - len(text)))
        return text


def loss_note(recipe: Recipe) -> str | None:
    """Return why the recipe makes the training loss larger than the validation loss, or None."""
    loss = recipe.loss
    if not isinstance(loss, SoftmaxCrossEntropy):
        return None
    if not (recipe.validation and loss.label_smoothing):
        return None
    return (
        f"Label smoothing {loss.label_smoothing:g} adds to the loss, but not to the validation "
        "loss, so the loss remains the larger of the two."
    )


def accuracy_text(result: dict[str, Any]) -> str:
    """Return an accuracy with its 95 % interval, and how many samples are right."""
    accuracy = result["accuracy"]
    interval = f"95 %: {interval_text(accuracy['low'], accuracy['high'])}"
    counts = f"{accuracy['right']:,} of {accuracy['of']:,} right"
    return f"{accuracy['value']:.2%} ({interval}), {counts}"


def tested_line(result: dict[str, Any]) -> str:
    """Return the last line of a training: the test accuracy and its interval."""
    history = result["history"]
    loss = _loss_of(result)
    note = None
    if loss is not None:
        losses = (history[0]["loss"], history[-1]["loss"])
        note = unlearned(*losses, result["steps"], loss, len(result["confusion"]))
    return (
        f"Test accuracy, weights of epoch {result['tested_epoch']}: {accuracy_text(result)}."
        + (f"\nnote: {note}" if note else "")
        + _waited(result)
    )


def _waited(result: dict[str, Any]) -> str:
    """Return how long the engine waited for streamed images; nothing of images in memory."""
    waited = result.get("waited_seconds")
    if waited is None:
        return ""
    return f"\nWaited for images: {waited:.1f} s of {result['seconds']:.1f} s."


def _loss_of(result: dict[str, Any]) -> Loss | None:
    """Return the loss of a training, or None if it is of a package that is not imported."""
    try:
        return loss_from_json(result["recipe"]["loss"], like=None)
    except SpecError:
        return None
