"""Averages of the weights over the updates, which a side may evaluate in place of the weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .code_lines import value_text
from .observation import Array, Arrays, Description, Updates

# How far an average may be from the formula, relative to its distance from the weights.
FITS = 1e-4
# Two decays are equal if 1 - decay differs by a smaller share.
SAME_DECAY = 1e-2


@dataclass(frozen=True)
class Average:
    """How a side averages its weights.

    Attributes
    ----------
    shares : tuple of float
        For each update, the share of the old average in the new one; empty without an average.
    decay : float or None
        This share, if it is the same after the first update.
    every : int
        After how many updates the average takes the place of the weights; 0 for only at the end.
    per_epoch : bool
        Whether the weights after each epoch are averaged, and not those after each update.
    """

    shares: tuple[float, ...] = ()
    decay: float | None = None
    every: int = 0
    per_epoch: bool = False

    @property
    def without_replacement(self) -> "Average":
        """The same average, if it never takes the place of the weights."""
        if not self.every or self.decay is None:
            return self
        return Average((0.0, *[self.decay] * (len(self.shares) - 1)), self.decay)

    @property
    def is_mean(self) -> bool:
        """Whether each average is the mean of all weights so far."""
        means = [step / (step + 1) for step in range(len(self.shares))]
        return len(means) > 1 and _same_shares(self.shares, means)

    def same(self, other: "Average") -> bool:
        """Return whether two sides average in the same way, but for where the average begins."""
        if bool(self.shares) != bool(other.shares) or self.every != other.every:
            return False
        if self.per_epoch != other.per_epoch:
            return False
        return _same_shares(self.shares, other.shares)

    def text(self) -> str:
        """Return in words what is evaluated."""
        if not self.shares:
            return "evaluates the weights, no average of them"
        if self.decay is not None:
            text = f"evaluates a moving average of the weights, decay {value_text(self.decay)}"
        elif self.is_mean:
            text = "evaluates the mean of the weights"
        else:
            largest = value_text(max(self.shares))
            text = f"evaluates an average of the weights, with decays up to {largest}"
        text += f", {self._when()}"
        if self.every:
            text += f", which replaces the weights after each {self.every} updates"
        return text

    def line(self, description: Description) -> str | None:
        """Return how a side evaluates this average; None if there is no line."""
        if description.framework == "keras" and description.optimizer:
            start = f"keras.optimizers.{description.optimizer.type}(..."
            if not self.shares:
                return f"{start})  # without use_ema"
            if self.decay is None or self.per_epoch:
                return None
            decay = value_text(self.decay)
            overwriting = f", ema_overwrite_frequency={self.every}" if self.every else ""
            return f"{start}, use_ema=True, ema_momentum={decay}{overwriting})"
        return self._torch_line() if description.framework == "torch" else None

    def _when(self) -> str:
        return "after each epoch" if self.per_epoch else "after each update"

    def _torch_line(self) -> str | None:
        if not self.shares:
            return "model(x)  # not its average"
        function = ""
        if self.decay is not None:
            function = f", multi_avg_fn=swa_utils.get_ema_multi_avg_fn({value_text(self.decay)})"
        elif not self.is_mean:
            return None
        line = f"ema = torch.optim.swa_utils.AveragedModel(model{function})"
        line += f"  # ema.update_parameters(model) {self._when()}"
        if self.every:
            return f"{line}; model.load_state_dict(ema.module.state_dict()) after each {self.every}"
        return f"{line}; ema(x) in evaluation"


def _same_shares(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two series of shares are the same after the first update."""
    pairs = list(zip(one, other, strict=False))[1:]
    return all(abs(a - b) <= SAME_DECAY * max(1 - a, 1 - b) for a, b in pairs)


def average_of(description: Description, updates: Updates) -> Average:
    """Return how a side averages its weights.

    Parameters
    ----------
    description : Description
        Of the side: Keras tells it with the optimizer.
    updates : Updates
        What its optimizer has made of gradients; of another framework they have shown the shares.
    """
    settings = description.optimizer.settings if description.optimizer else {}
    if not settings.get("use_ema"):
        constant = _constant(updates.shares)
        return Average(updates.shares, constant, per_epoch=updates.per_epoch)
    decay = float(settings["ema_momentum"])
    every = settings.get("ema_overwrite_frequency") or 0
    count = settings.get("gradient_accumulation_steps") or 1
    numbers = [update // count for update in range(len(updates.weights))]
    shares = [
        0.0 if not number or (every and not (number + 1) % every) else decay for number in numbers
    ]
    return Average(tuple(shares), decay, every)


def _constant(shares: Sequence[float]) -> float | None:
    if not shares or not _same_shares(shares, [shares[-1]] * len(shares)):
        return None
    return float(f"{shares[-1]:.4g}")


def moving_averages(start: Arrays, weights: Sequence[Arrays], shares: Sequence[float]) -> Arrays:
    """Return the averages of weights after the last update.

    Parameters
    ----------
    start : dict of str to ndarray
        The weights before the first update, where the averages begin.
    weights : sequence of dict
        Those after each update.
    shares : sequence of float
        For each update, the share of the old average in the new one; as many as are given count.
    """
    averages = {name: np.asarray(start[name], np.float64) for name in weights[0]}
    for step, share in zip(weights, shares, strict=False):
        averages = {name: share * old + (1 - share) * step[name] for name, old in averages.items()}
    return averages


def shares_of_series(series: Sequence[Array | None], weights: Sequence[Array]) -> tuple[float, ...]:
    """Return how an array was averaged of a weight; empty if it was not.

    Parameters
    ----------
    series : sequence of ndarray or None
        The array before the first update and after each; None where it was not there yet.
    weights : sequence of ndarray
        The weight at the same times.
    """
    shares: list[float] = []
    for before, after, old, weight in zip(series, series[1:], weights, weights[1:], strict=False):
        if after is None:
            return ()
        apart = (old if before is None else before) - weight
        left = after - weight
        square = float(np.vdot(apart, apart))
        share = float(np.vdot(apart, left)) / square if square else 0.0
        rest = np.abs(left - share * apart).max(initial=0.0)
        if not -FITS < share < 1 + FITS or rest > FITS * np.abs(apart).max(initial=0.0):
            return ()
        shares.append(share)
    # A copy of the weights, or of those of the beginning, is no average.
    is_average = any(FITS < share < 1 - FITS for share in shares[1:])
    return tuple(shares) if is_average else ()
