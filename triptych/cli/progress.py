"""The progress of a training: one bar on a terminal, and a line for the end of an epoch, at most about fifty of them."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..metrics import unlearned

LINES = 50


class TrainingProgress:
    """Shows the events of a training. A context manager.

    Parameters
    ----------
    console : Console
    epochs : int
    steps : int
        Of an epoch.
    step : int
        Made before.
    """

    def __init__(self, console: Console, epochs: int, steps: int, step: int = 0) -> None:
        self.console, self.epochs, self.steps = console, epochs, steps
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("first step", total=epochs * steps, completed=step, said="")
        self._accuracy = ""

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def see(self, event: dict[str, Any]) -> None:
        """Take an event in."""
        kind = event["type"]
        if kind == "block":
            within = event["step"] - (event["epoch"] - 1) * self.steps
            description = f"epoch {event['epoch']}/{self.epochs}, step {within}/{self.steps}"
            said = f"loss {event['losses'][-1]:.4f}{self._accuracy}, rate {event['rate']:.3g}"
            self._bar.update(self._task, description=description, completed=event["step"], said=said)
        elif kind == "epoch":
            if "validation_accuracy" in event:
                self._accuracy = f", accuracy {event['validation_accuracy']:.2%}"
            if event["epoch"] % max(1, self.epochs // LINES) == 0 or event["epoch"] == self.epochs:
                self._say(epoch_line(event, self.epochs))
        elif kind == "cut":
            self._say(f"epoch {event['epoch']}: the learning rate is cut to {event['base_rate']:.3g}")
        elif kind == "stop":
            self._say(f"epoch {event['epoch']}: stopped early, {event['why']}")

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def epoch_line(epoch: dict[str, Any], epochs: int) -> str:
    """Return what an epoch came to."""
    looked = ""
    if "validation_loss" in epoch:
        looked = f", validation loss {epoch['validation_loss']:.4f}, accuracy {epoch['validation_accuracy']:.2%}"
    return f"epoch {epoch['epoch']}/{epochs}: loss {epoch['loss']:.4f}{looked}, rate {epoch['rate']:.3g}, {epoch['seconds']:.3g} s"


def tested_line(result: dict[str, Any]) -> str:
    """Return the last line of a training: the test accuracy and its interval."""
    a, history = result["accuracy"], result["history"]
    said = unlearned(history[0]["loss"], history[-1]["loss"], result["steps"], len(result["confusion"]))
    return (
        f"Test accuracy, weights of epoch {result['tested_epoch']}: {a['value']:.2%} "
        f"(95 %: {100 * a['low']:.2f}–{100 * a['high']:.2f}), {a['right']:,} of {a['of']:,} right." + (f"\nnote: {said}" if said else "")
    )
