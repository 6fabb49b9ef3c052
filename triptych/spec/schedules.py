"""Learning-rate schedules: a factor for the optimizer's rate, as a pure function of the step.

Durations are in epochs, which may be fractions, so that a recipe does not depend on the size of its
data. With n steps in an epoch and a warm-up of w epochs, step s (from 0) has the factor

    min(1, (s + 1) / (w·n)) · shape(max(0, s/n - w))

The first step therefore has a rate above 0, the last step of the warm-up has the whole rate, and
the shape begins when the warm-up ends. No factor is above 1: the optimizer's rate is the highest
one of the run.
"""

from dataclasses import dataclass, field
from math import cos, floor, pi
from typing import ClassVar, Literal, TypeVar, get_args

from ..errors import SpecError
from .registry import Registry
from .validation import check_choice, check_number

Curve = Literal["cosine", "linear"]

NEAR = 1e-9  # epochs: rounding may leave s/n this far below the boundary that it equals

S = TypeVar("S", bound="RateSchedule")

SCHEDULES: "Registry[type[RateSchedule]]" = Registry()


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
        Number of epochs in which the factor rises linearly from almost 0 to 1; 0 for no warm-up.
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
            The number of the step, from 0.
        steps_per_epoch : int
            Number of steps in an epoch.
        epochs : float
            Number of epochs in the run.
        """
        warmup_steps = self.warmup * steps_per_epoch
        warmup_factor = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        t = max(0.0, step / steps_per_epoch - self.warmup)
        return warmup_factor * self.shape(t, epochs - self.warmup)

    def shape(self, t: float, rest: float) -> float:
        """Return the factor after the warm-up, in [0, 1].

        Parameters
        ----------
        t : float
            Epochs since the end of the warm-up.
        rest : float
            Epochs between the end of the warm-up and the end of the run.
        """
        return 1.0


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Constant(RateSchedule):
    """The optimizer's rate in every step after the warm-up."""

    name: ClassVar[str] = "constant"


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Step(RateSchedule):
    """A staircase: the factor is factorᵏ after k boundaries.

    It is PyTorch's StepLR and MultiStepLR, and Keras's ExponentialDecay with ``staircase=True``.

    Attributes
    ----------
    factor : float
        What the rate is multiplied by at each boundary, in (0, 1].
    every : float or None
        Epochs between boundaries; None if `milestones` are given.
    milestones : tuple of float
        Boundaries in epochs after the warm-up, in increasing order.
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
        """Return one schedule with regular boundaries, and one with milestones and a warm-up."""
        return cls(every=1.0), cls(milestones=(0.5, 1.5), warmup=0.5)

    def shape(self, t: float, rest: float) -> float:
        """Return factorᵏ, where k boundaries have been passed."""
        if self.every is None:
            return self.factor ** sum(t + NEAR >= milestone for milestone in self.milestones)
        return self.factor ** floor((t + NEAR) / self.every)


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Exponential(RateSchedule):
    """A smooth exponential decay: factor to the power t/every.

    It is Keras's ExponentialDecay. PyTorch's ExponentialLR changes the rate once an epoch (D69).

    Attributes
    ----------
    factor : float
        What the rate is multiplied by in `every` epochs, in (0, 1].
    every : float
        Epochs, above 0.
    """

    factor: float = 0.95
    every: float = 1.0
    name: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "factor", self.factor, 0, 1, above=True)
        check_number(self.name, "every", self.every, 0, above=True)

    def shape(self, t: float, rest: float) -> float:
        """Return factor to the power t/every."""
        return self.factor ** (t / self.every)


@dataclass(frozen=True, kw_only=True)
class Timed(RateSchedule):
    """Base of the schedules with a duration. Afterwards the factor stays constant.

    Attributes
    ----------
    epochs : float or None
        The duration in epochs, from the end of the warm-up; None for the rest of the run.
    """

    epochs: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None:
            check_number(self.name, "epochs", self.epochs, 0, above=True)

    def done(self, t: float, rest: float) -> float:
        """Return the fraction of the duration that has passed after `t` epochs, in [0, 1]."""
        duration = rest if self.epochs is None else self.epochs
        return min(1.0, t / duration) if duration > 0 else 0.0


@register_schedule
@dataclass(frozen=True, kw_only=True)
class Cosine(Timed):
    """Half a cosine from 1 to `floor` (Loshchilov & Hutter 2017, eq. 5, without restarts).

    It is Keras's CosineDecay. PyTorch's CosineAnnealingLR has an absolute floor, and its rate rises
    again after its end (D68).

    Attributes
    ----------
    floor : float
        The last factor, in [0, 1].
    """

    floor: float = 0.0
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "floor", self.floor, 0, 1)

    def shape(self, t: float, rest: float) -> float:
        """Return half a cosine from 1 down to `floor`."""
        return self.floor + (1 - self.floor) * (1 + cos(pi * self.done(t, rest))) / 2


@register_schedule
@dataclass(frozen=True, kw_only=True)
class OneCycle(Timed):
    """A factor that rises to 1, then falls (Smith & Topin 2018, with PyTorch's two phases).

    The momentum is not changed.

    Attributes
    ----------
    start, end : float
        The first and the last factor, in [0, 1]. The defaults are PyTorch's: 1/25, and 1/10,000 of
        that.
    peak : float
        The fraction of the duration after which the factor is 1, in (0, 1).
    curve : "cosine" or "linear"
        The shape of both phases.
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
        """Return the factor on the way from `start` to 1, or from 1 to `end`."""
        done = self.done(t, rest)
        if done < self.peak:
            low = self.start
            distance = 1 - done / self.peak  # from the peak, as a fraction of the phase
        else:
            low = self.end
            distance = (done - self.peak) / (1 - self.peak)
        height = (1 + cos(pi * distance)) / 2 if self.curve == "cosine" else 1 - distance
        return low + (1 - low) * height


def names_without_settings() -> str:
    """Return the names of the schedules that need no setting, for help texts."""
    names: list[str] = []
    for name, cls in SCHEDULES.items():
        try:
            cls()
        except (SpecError, TypeError):  # a setting without a default
            continue
        names.append(name)
    return f"{', '.join(names[:-1])} or {names[-1]}"
