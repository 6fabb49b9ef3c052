"""How it is trained: every number explicit, JSON in and out.

The formulas are the specification's, and the NumPy engine is the specification. With g the gradient, η the rate:

* SGD: w ← w − η·g; with momentum µ: v ← µ·v + g, w ← w − η·v; Nesterov: w ← w − η·(g + µ·v). The velocity
  holds gradients, not steps (Sutskever et al. 2013, in PyTorch's form).
* Adam (Kingma & Ba 2015, algorithm 1): m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²,
  w ← w − η·m̂/(√v̂ + ε) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ): epsilon after the bias correction.
* RMSprop (Hinton 2012, lecture 6e): v ← ρv + (1−ρ)g², w ← w − η·g/(√v + ε): epsilon outside the root.
"""

from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any, ClassVar, Literal, get_args

from .augmentation import Augmentation
from .callbacks import CALLBACKS, Monitor
from .errors import SpecError, suggest
from .named import check_number, from_json, to_json
from .network import check_keys
from .schedules import SCHEDULES, Constant, RateSchedule

DType = Literal["float32", "float64"]
Randomness = Literal["matched", "free"]


@dataclass(frozen=True)
class Optimizer:
    """Base of every optimizer: its numbers, and the names of the arrays it keeps for each parameter."""

    rate: float
    name: ClassVar[str]

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) != (f.type is bool):
                raise SpecError(f"{self.name}: {f.name} must be {'true or false' if f.type is bool else 'a number'}, not {value!r}")
            if f.type is float and (not isinstance(value, (int, float)) or not isfinite(value)):
                raise SpecError(f"{self.name}: {f.name} must be a finite number, not {value!r}")
        if self.rate <= 0:
            raise SpecError(f"{self.name}: the learning rate must be positive, not {self.rate}")

    def _fraction(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise SpecError(f"{self.name}: {name} must be in [0, 1), not {getattr(self, name)}")

    @property
    def slots(self) -> tuple[str, ...]:
        """Arrays kept for each parameter, of its shape."""
        return ()

    @property
    def counts_steps(self) -> bool:
        """Whether the update depends on how many came before it."""
        return False


@dataclass(frozen=True)
class SGD(Optimizer):
    rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    name: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fraction("momentum")
        if self.nesterov and not self.momentum:
            raise SpecError("sgd: nesterov needs a momentum above 0")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()


@dataclass(frozen=True)
class Adam(Optimizer):
    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    name: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fraction("beta1", "beta2")
        _positive_epsilon(self.name, self.epsilon)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    @property
    def counts_steps(self) -> bool:
        return True


@dataclass(frozen=True)
class RMSprop(Optimizer):
    rate: float = 1e-3
    decay: float = 0.9
    epsilon: float = 1e-8
    name: ClassVar[str] = "rmsprop"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fraction("decay")
        _positive_epsilon(self.name, self.epsilon)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("v",)


OPTIMIZERS: dict[str, type[Optimizer]] = {cls.name: cls for cls in (SGD, Adam, RMSprop)}


def optimizer(name: str, rate: float | None = None) -> Optimizer:
    """Return an optimizer by the name that people type: sgd, momentum, nesterov, adam or rmsprop.

    Parameters
    ----------
    name : str
    rate : float, optional
        Learning rate; otherwise the optimizer's own default.

    Raises
    ------
    SpecError
        Where there is none of that name.
    """
    if name not in SHORTHANDS:
        raise SpecError(f"optimizer {name!r} is unknown; {suggest(name, SHORTHANDS)}")
    values = SHORTHANDS[name] | ({} if rate is None else {"rate": rate})
    return OPTIMIZERS.get(name, SGD)(**values)


SHORTHANDS: dict[str, dict[str, Any]] = {
    "sgd": {},
    # rate/(1 - momentum) is what a step amounts to in the long run: 0.01 with 0.9 is the plain 0.1.
    "momentum": {"rate": 0.01, "momentum": 0.9},
    "nesterov": {"rate": 0.01, "momentum": 0.9, "nesterov": True},
    "adam": {},
    "rmsprop": {},
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are the original's: full batch, SGD 0.1, 500 epochs.

    Attributes
    ----------
    epochs : int
    batch_size : int or "full"
        The last batch of an epoch may be smaller; it counts as a step of its own size.
    optimizer : Optimizer
    seed : int
        Weights, order, masks and the split of a single file all follow from it.
    dtype : "float32" or "float64"
    random : "matched" or "free"
        Matched: dropout masks are drawn once and fed to every engine. Free: each framework draws its own.
    augmentation : Augmentation
        What is done to training images; the same for every engine in either mode.
    schedule : RateSchedule
        The factor on the optimizer's rate, step by step.
    validation : float
        The share of the training split, in [0, 1), that is set aside by seed, class by class, to be looked at after each epoch.
    callbacks : tuple of Monitor
        What may cut the rate or end the training, at most one of a kind.
    """

    epochs: int = 500
    batch_size: int | Literal["full"] = "full"
    optimizer: Optimizer = field(default_factory=SGD)
    seed: int = 0
    dtype: DType = "float32"
    random: Randomness = "matched"
    augmentation: Augmentation = field(default_factory=Augmentation)
    schedule: RateSchedule = field(default_factory=Constant)
    validation: float = 0.0
    callbacks: tuple[Monitor, ...] = ()

    def __post_init__(self) -> None:
        _whole("epochs", self.epochs, 1)
        _whole("seed", self.seed, 0)
        if self.batch_size != "full":
            _whole("batch_size", self.batch_size, 1, " or 'full'")
        for name, choices in (("dtype", DType), ("random", Randomness)):
            if getattr(self, name) not in get_args(choices):
                raise SpecError(
                    f"recipe: {name} {getattr(self, name)!r} is unknown; {suggest(str(getattr(self, name)), get_args(choices))}"
                )

        check_number("recipe", "validation", self.validation, 0, 1)
        if self.validation == 1:
            raise SpecError("recipe: validation must be below 1, so that something is left to train on")
        for callback in self.callbacks:
            if [other.name for other in self.callbacks].count(callback.name) > 1:
                raise SpecError(f"recipe: two callbacks are {callback.name}; one of a kind is possible")
            if callback.monitor.startswith("validation") and not self.validation:
                raise SpecError(
                    f"recipe: {callback.name} watches {callback.monitor}, but nothing is set aside; give validation, 0.1 say, or watch loss"
                )

    def to_json(self) -> dict[str, Any]:
        chosen = {
            "optimizer": to_json(self.optimizer),
            "schedule": to_json(self.schedule),
            "callbacks": [to_json(callback) for callback in self.callbacks],
        }
        return asdict(self) | chosen

    @classmethod
    def from_json(cls, data: Any) -> "Recipe":
        """Read what `to_json` wrote, or a part of it: what is left out is at its default.

        Raises
        ------
        SpecError
            Naming the unknown key and its nearest valid one, or the number out of range.
        """
        known = {f.name for f in fields(cls)}
        values = check_keys(data, known, "recipe", known)
        if "optimizer" in values:
            values["optimizer"] = from_json(values["optimizer"], OPTIMIZERS, "optimizer")
        if "augmentation" in values:
            known = {f.name for f in fields(Augmentation)}
            values["augmentation"] = Augmentation(**check_keys(values["augmentation"], known, "augmentation", known))
        if "schedule" in values:
            values["schedule"] = from_json(values["schedule"], SCHEDULES, "schedule")
        if "callbacks" in values:
            if not isinstance(values["callbacks"], list):
                raise SpecError(f"recipe: callbacks must be a list, not {values['callbacks']!r}")
            values["callbacks"] = tuple(from_json(callback, CALLBACKS, "callback") for callback in values["callbacks"])
        return cls(**values)


def _whole(name: str, value: Any, least: int, also: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(f"recipe: {name} must be a whole number of at least {least}{also}, not {value!r}")


def _positive_epsilon(name: str, value: float) -> None:
    if value <= 0:
        raise SpecError(f"{name}: epsilon must be positive, not {value}")
