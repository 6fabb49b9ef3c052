"""Rules that watch the validation loss, in one vocabulary: they cut the rate or end the training.

The formulas were read in ``torch/optim/lr_scheduler.py`` and ``keras/src/callbacks``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from .observation import Component, Description, Settings, numbers_of

# Where a rule is looked for, if it is the user's own.
WAITS = tuple(range(1, 16))
DELTAS = (0.0, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Plateau:
    """Cuts the rate when the loss has not become better for some epochs.

    Attributes
    ----------
    wait : int
        The number of epochs without progress after which the rate is cut.
    threshold : float
        By how much a loss must be better than the best one.
    relative : bool
        Whether that is a share of the best one.
    cooldown : int
        Epochs after a cut that do not count.
    skips_last : bool
        Whether the last epoch of a cooldown does not count either, as in PyTorch.
    factor : float
        By which the rate is multiplied.
    floor : float
        The smallest rate.
    maximum : bool
        Whether larger is better.
    """

    wait: int
    threshold: float = 1e-4
    relative: bool = False
    cooldown: int = 0
    skips_last: bool = False
    factor: float = 0.1
    floor: float = 0.0
    maximum: bool = False

    def rates(self, losses: Sequence[float], rate: float) -> list[float]:
        """Return the rate after each epoch."""
        result: list[float] = []
        best = float("-inf") if self.maximum else float("inf")
        waited = 0
        cooling = 0
        for loss in losses:
            begins_cool = cooling > 0
            cooling = max(0, cooling - 1)
            cool = begins_cool if self.skips_last else cooling > 0
            if begins_cool:
                waited = 0
            if self._better(loss, best):
                best = loss
                waited = 0
            elif not cool:
                waited += 1
                if waited >= self.wait:
                    rate = max(rate * self.factor, self.floor) if rate > self.floor else rate
                    cooling = self.cooldown
                    waited = 0
            result.append(rate)
        return result

    def _better(self, loss: float, best: float) -> bool:
        if best in (float("inf"), float("-inf")):
            return True
        margin = self.threshold * abs(best) if self.relative else self.threshold
        return loss > best + margin if self.maximum else loss < best - margin


@dataclass(frozen=True)
class Stopping:
    """Ends the training when the loss has not become better for some epochs.

    Attributes
    ----------
    wait : int
        The number of epochs without progress after which it ends.
    threshold : float
        By how much a loss must be better than the best one.
    """

    wait: int
    threshold: float = 0.0

    def stopped(self, losses: Sequence[float]) -> int | None:
        """Return the epoch after which the training ends."""
        best = float("inf")
        waited = 0
        for epoch, loss in enumerate(losses):
            waited += 1
            if loss < best - self.threshold:
                best = loss
                waited = 0
            elif waited >= self.wait and epoch > 0:
                return epoch
        return None


def described_plateau(description: Description) -> Plateau | None:
    """Return the rule that a side's ``ReduceLROnPlateau`` stands for; None if it has none."""
    for component in watching(description):
        if component.type == "ReduceLROnPlateau":
            return _plateau(component.settings, description.framework)
    return None


def watching(description: Description) -> list[Component]:
    """Return what may watch the validation loss: the schedule, and the callbacks."""
    schedule = [description.schedule] if description.schedule else []
    return [*schedule, *description.callbacks]


def _plateau(settings: Settings, framework: str) -> Plateau:
    maximum = settings.get("mode") == "max"
    if framework == "torch":
        floors = settings.get("min_lrs", settings.get("min_lr", 0.0))
        floor = floors[0] if isinstance(floors, (list, tuple)) else floors
        return Plateau(
            wait=int(settings.get("patience", 10)) + 1,
            threshold=float(settings.get("threshold", 1e-4)),
            relative=settings.get("threshold_mode", "rel") == "rel",
            cooldown=int(settings.get("cooldown", 0)),
            skips_last=True,
            factor=float(settings.get("factor", 0.1)),
            floor=float(floor),
            maximum=maximum,
        )
    return Plateau(
        wait=max(1, int(settings.get("patience", 10))),
        threshold=float(settings.get("min_delta", 1e-4)),
        relative=False,
        cooldown=int(settings.get("cooldown", 0)),
        factor=float(settings.get("factor", 0.1)),
        floor=float(settings.get("min_lr", 0.0)),
        maximum=maximum,
    )


def found_plateau(
    losses: Sequence[float], rates: Sequence[float], start: float, settings: Iterable[Settings]
) -> Plateau | None:
    """Return the first rule that makes a series of rates of the losses; None if there is none."""
    ratios = [after / before for before, after in zip([start, *rates], rates, strict=False)]
    factors = [float(f"{ratio:.6g}") for ratio in ratios if ratio < 1 - 1e-9]
    if not factors:
        return None
    deltas = _candidates(settings, ("threshold", "min_delta", "delta", "tol"), DELTAS)
    cooldowns = [int(value) for value in _candidates(settings, ("cooldown",), (0,))]
    for wait, delta, relative, cooldown, skips in product(
        WAITS, deltas, (False, True), cooldowns, (False, True)
    ):
        rule = Plateau(int(wait), delta, relative, cooldown, skips, factors[0])
        if same_rates(rule.rates(losses, start), rates):
            return rule
    return None


def found_stopping(
    losses: Sequence[float], stopped: int | None, settings: Iterable[Settings]
) -> Stopping | None:
    """Return the first rule that ends the training where it was ended; None if there is none."""
    waits = [int(value) for value in _candidates(settings, ("patience",), ())]
    waits = [*waits, *(wait + 1 for wait in waits), *WAITS]
    deltas = _candidates(settings, ("min_delta", "delta", "tol"), (0.0, *DELTAS))
    for wait, delta in product(dict.fromkeys(waits), deltas):
        rule = Stopping(max(1, wait), delta)
        if rule.stopped(losses) == stopped:
            return rule
    return None


def _candidates(
    settings: Iterable[Settings], names: Sequence[str], usual: Sequence[float]
) -> list[float]:
    return list(dict.fromkeys([*numbers_of(settings, names), *usual]))


def same_rates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two series of rates are equal, but for a conversion to float32."""
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(same_rate(a, b) for a, b in pairs)


def same_rate(one: float, other: float) -> bool:
    """Return whether two rates are equal, but for a conversion to float32."""
    return abs(one - other) <= 1e-5 * max(one, other)


def differing(one: Plateau, other: Plateau) -> Iterator[str]:
    """Yield the names of what differs between two rules."""
    for each in fields(Plateau):
        a: Any = getattr(one, each.name)
        b: Any = getattr(other, each.name)
        if a != b and not (each.name == "skips_last" and not one.cooldown and not other.cooldown):
            yield each.name


def taking(one: Plateau, other: Plateau, names: Iterable[str]) -> Plateau:
    """Return a rule with some settings of another one."""
    changed: Settings = {name: getattr(other, name) for name in names}
    return replace(one, **changed)
