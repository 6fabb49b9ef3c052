"""Learning-rate schedules: a factor on the optimizer's rate, a pure function of the step.

Durations are in epochs, fractions of them too, so that a recipe does not depend on the size of its data. With n steps in
an epoch and a warm-up of w epochs, step s (counted from 0, and evaluated for each step) has the factor

    min(1, (s + 1) / (w·n)) · shape(max(0, s/n - w))

so the first step already moves, the last of the warm-up has the whole rate, and the shape begins where the warm-up ends. A
shape whose `epochs` is None lasts to the end of the run. No factor is above 1: the optimizer's rate is the highest of the run.
"""

from dataclasses import dataclass, field
from math import cos, floor, pi
from typing import ClassVar, Literal, TypeVar, get_args

from ..errors import SpecError
from .validation import check_choice, check_number

Curve = Literal["cosine", "linear"]

NEAR = 1e-9  # of an epoch: s/n may lie that far below the boundary it stands for


S = TypeVar("S", bound="RateSchedule")

SCHEDULES: dict[str, "type[RateSchedule]"] = {}


def register_schedule(cls: type[S]) -> type[S]:
    """Make a schedule known by its name in recipes; usable as a decorator."""
    SCHEDULES[cls.name] = cls
    return cls


@dataclass(frozen=True, kw_only=True)
class RateSchedule:
    """Base of every schedule.

    Attributes
    ----------
    warmup : float
        Epochs over which the rate climbs linearly from (almost) nothing; 0 for none.
    """

    warmup: float = field(default=0.0)
    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_number(self.name, "warmup", self.warmup, 0)

    @classmethod
    def examples(cls) -> "tuple[RateSchedule, ...]":
        """Return a few instances for tests."""
        return (cls(), cls(warmup=0.5))

    def at(self, step: int, steps_per_epoch: int, epochs: float) -> float:
        """Return the factor of one step, in [0, 1].

        Parameters
        ----------
        step : int
            From 0.
        steps_per_epoch : int
        epochs : float
            Of the whole run.
        """
        climb = self.warmup * steps_per_epoch
        rising = min(1.0, (step + 1) / climb) if climb else 1.0
        return rising * self.shape(
            max(0.0, step / steps_per_epoch - self.warmup), epochs - self.warmup
        )

    def shape(self, t: float, rest: float) -> float:
        """Return the factor `t` epochs after the warm-up, where `rest` epochs follow it in all."""
        return 1.0


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Constant(RateSchedule):
    """The optimizer's rate throughout."""

    name: ClassVar[str] = "constant"


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Step(RateSchedule):
    """A staircase: factorᵏ after k boundaries (PyTorch's StepLR and MultiStepLR; Keras's ExponentialDecay with staircase).

    Attributes
    ----------
    factor : float
        In (0, 1].
    every : float or None
        Epochs between boundaries; None where `milestones` say where they are.
    milestones : tuple of float
        Boundaries in epochs after the warm-up, rising.
    """

    factor: float = 0.1
    every: float | None = None
    milestones: tuple[float, ...] = ()
    name: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "factor", self.factor, 0, 1, above=True)
        if not isinstance(self.milestones, tuple):
            raise SpecError(
                f"step: milestones must be a list of numbers, in epochs, not {self.milestones!r}"
            )
        if (self.every is None) == (not self.milestones):
            raise SpecError("step: give either every, in epochs, or milestones, in a recipe file")
        if self.every is not None:
            check_number(self.name, "every", self.every, 0, above=True)
        for milestone in self.milestones:
            check_number(self.name, "a milestone", milestone, 0)
        if list(self.milestones) != sorted(set(self.milestones)):
            raise SpecError(f"step: milestones must rise, not {list(self.milestones)}")

    @classmethod
    def examples(cls) -> tuple[RateSchedule, ...]:
        return cls(every=1.0), cls(milestones=(0.5, 1.5), warmup=0.5)

    def shape(self, t: float, rest: float) -> float:
        if self.every is None:
            return self.factor ** sum(t + NEAR >= milestone for milestone in self.milestones)
        return self.factor ** floor((t + NEAR) / self.every)


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Exponential(RateSchedule):
    """factor to the power t/every, without stairs (Keras's ExponentialDecay; PyTorch's ExponentialLR has stairs of an epoch, D69).

    Attributes
    ----------
    factor : float
        In (0, 1].
    every : float
        Epochs.
    """

    factor: float = 0.95
    every: float = 1.0
    name: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "factor", self.factor, 0, 1, above=True)
        check_number(self.name, "every", self.every, 0, above=True)

    def shape(self, t: float, rest: float) -> float:
        return self.factor ** (t / self.every)


@dataclass(frozen=True, kw_only=True)
class Timed(RateSchedule):
    """Base of the schedules that come to an end, and stay where they ended.

    Attributes
    ----------
    epochs : float or None
        How long after the warm-up; None to the end of the run.
    """

    epochs: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None:
            check_number(self.name, "epochs", self.epochs, 0, above=True)

    def done(self, t: float, rest: float) -> float:
        """Return how much of it is over, in [0, 1]."""
        duration = rest if self.epochs is None else self.epochs
        return min(1.0, t / duration) if duration > 0 else 0.0


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Cosine(Timed):
    """Half a cosine from 1 to `floor`, where it stays (Loshchilov & Hutter 2017, eq. 5, without restarts).

    Keras's CosineDecay. PyTorch's CosineAnnealingLR has an absolute floor and climbs back after its end (D68).

    Attributes
    ----------
    floor : float
        A fraction of the optimizer's rate, in [0, 1].
    """

    floor: float = 0.0
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "floor", self.floor, 0, 1)

    def shape(self, t: float, rest: float) -> float:
        return self.floor + (1 - self.floor) * (1 + cos(pi * self.done(t, rest))) / 2


@register_schedule
@dataclass(frozen=True, kw_only=True)
class OneCycle(Timed):
    """Up to the optimizer's rate, then down (Smith & Topin 2018, in PyTorch's two phases); momentum stays as it is.

    Attributes
    ----------
    start, end : float
        Fractions of the optimizer's rate, in [0, 1]. The defaults are PyTorch's: 1/25, and 1/10,000 of that.
    peak : float
        The share of its duration after which the rate is highest, in (0, 1).
    curve : "cosine" or "linear"
        Of both ways.
    """

    start: float = 0.04
    end: float = 4e-6
    peak: float = 0.3
    curve: Curve = "cosine"
    name: ClassVar[str] = "one-cycle"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("start", "end"):
            check_number(self.name, name, getattr(self, name), 0, 1)
        check_number(self.name, "peak", self.peak, 0, 1, above=True)
        if self.peak == 1:
            raise SpecError("one-cycle: peak must be below 1, so that there is a way down")
        check_choice(self.name, "curve", self.curve, get_args(Curve))

    def shape(self, t: float, rest: float) -> float:
        done = self.done(t, rest)
        low, way = (
            (self.start, 1 - done / self.peak)
            if done < self.peak
            else (self.end, (done - self.peak) / (1 - self.peak))
        )
        high = (1 + cos(pi * way)) / 2 if self.curve == "cosine" else 1 - way
        return low + (1 - low) * high
