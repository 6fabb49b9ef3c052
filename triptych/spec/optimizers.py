"""The optimizers as plain data: every number explicit, and which of two conventions each formula follows.

With g the gradient, η the rate, t the step from 1, and every slot 0 at the beginning unless it says otherwise:

* sgd: w ← w − η·g; with momentum µ: v ← µ·v + g, w ← w − η·v; Nesterov: w ← w − η·(g + µ·v). The velocity holds
  gradients (PyTorch), or steps: then g above is η·g, and the rate is not applied again (Keras). At a constant rate the
  weights are the same (Sutskever et al. 2013; D54).
* adam (Kingma & Ba 2015, algorithm 1): m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ),
  w ← w − η·m̂/(√v̂ + ε). With epsilon before the correction: w ← w − η·√(1−β₂ᵗ)·m̂/(√v + ε) (Keras; D47).
* adamw (Loshchilov & Hutter 2019, algorithm 2): adam with decoupled decay.
* nadam (Dozat 2016): µₜ = β₁·(1 − ½·0.96^(ψt)), Πₜ = µ₁·…·µₜ, m and v as in adam,
  w ← w − η·(µₜ₊₁·m/(1−Πₜ₊₁) + (1−µₜ)·g/(1−Πₜ))/(√v̂ + ε). ψ is 0.004 in PyTorch and 1 in Keras (D52).
* rmsprop (Hinton 2012, lecture 6e): v ← ρv + (1−ρ)g², s = g/(√v + ε), or g/√(v + ε) with epsilon inside (Keras; D48);
  w ← w − η·s; with momentum as in sgd, s for g.
* adagrad (Duchi et al. 2011): v ← v + g², from v = initial; w ← w − η·g/(√v + ε), or epsilon inside (Keras; D49).
* adadelta (Zeiler 2012, algorithm 1): v ← ρv + (1−ρ)g², δ = √(u + ε)/√(v + ε)·g, u ← ρu + (1−ρ)δ², w ← w − η·δ.

Weight decay λ is of all parameters: decoupled, w ← (1 − η·λ)·w before the update (Keras, and AdamW); coupled, g ← g + λ·w
(PyTorch's other classes; D56).
"""

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from ..errors import SpecError, suggest
from . import conventions
from .validation import check_choice, check_flag, check_keys, check_number

Holds = Literal["gradients", "steps"]

NEGLIGIBLE = 1e-17  # 1 - x is 1


@dataclass(frozen=True)
class Optimizer:
    """Base of every optimizer: its numbers, and the names of the arrays it keeps for each parameter.

    Attributes
    ----------
    rate : float
    weight_decay : float
        λ, at least 0.
    decoupled : bool
        Of the decay.
    """

    rate: float
    weight_decay: float = field(default=0.0, kw_only=True)
    decoupled: bool = field(default=False, kw_only=True)
    name: ClassVar[str]
    label: ClassVar[str]

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.type is bool:
                check_flag(self.name, f.name, getattr(self, f.name))
            elif f.name in FRACTIONS:
                check_number(self.name, f.name, getattr(self, f.name), 0, 1, below=True)
            elif f.type is float:
                above = f.name in ("rate", "epsilon")
                check_number(self.name, f.name, getattr(self, f.name), 0, above=above)

    @classmethod
    def examples(cls) -> "tuple[Optimizer, ...]":
        """Return a few instances for tests, every option in one of them."""
        return (cls(),)  # pyright: ignore[reportCallIssue]

    @property
    def slots(self) -> tuple[str, ...]:
        """Arrays kept for each parameter, of its shape."""
        return ()

    @property
    def counts_steps(self) -> bool:
        """Whether the update depends on how many came before it."""
        return False

    def begin(self, slot: str) -> float:
        """Return what a slot holds before the first step."""
        return 0.0


FRACTIONS = ("momentum", "beta1", "beta2", "rho")


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Base of those with a velocity.

    Attributes
    ----------
    momentum : float
        In [0, 1).
    velocity : "gradients" or "steps"
        What it holds.
    """

    momentum: float = field(default=0.0, kw_only=True)
    velocity: Holds = field(default="gradients", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.name, "velocity", self.velocity, get_args(Holds))

    @property
    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()


@dataclass(frozen=True)
class SGD(Momentum):
    rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    name: ClassVar[str] = "sgd"
    label: ClassVar[str] = "SGD"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise SpecError("sgd: nesterov needs a momentum above 0")


@dataclass(frozen=True)
class RMSprop(Momentum):
    rate: float = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8
    epsilon_inside: bool = False
    name: ClassVar[str] = "rmsprop"
    label: ClassVar[str] = "RMSprop"

    @property
    def slots(self) -> tuple[str, ...]:
        return ("v", *super().slots)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    rate: float = 0.01
    epsilon: float = 1e-10
    epsilon_inside: bool = False
    initial: float = 0.0
    name: ClassVar[str] = "adagrad"
    label: ClassVar[str] = "Adagrad"

    @property
    def slots(self) -> tuple[str, ...]:
        return ("v",)

    def begin(self, slot: str) -> float:
        return self.initial


@dataclass(frozen=True)
class Adadelta(Optimizer):
    rate: float = 1.0
    rho: float = 0.9
    epsilon: float = 1e-6
    name: ClassVar[str] = "adadelta"
    label: ClassVar[str] = "Adadelta"

    @property
    def slots(self) -> tuple[str, ...]:
        return ("v", "u")


@dataclass(frozen=True)
class Moments(Optimizer):
    """Base of the Adam family: first and second moment, bias-corrected."""

    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    @property
    def counts_steps(self) -> bool:
        return True


@dataclass(frozen=True)
class Adam(Moments):
    epsilon_first: bool = False  # before the bias correction
    name: ClassVar[str] = "adam"
    label: ClassVar[str] = "Adam"


@dataclass(frozen=True)
class AdamW(Adam):
    weight_decay: float = field(default=0.01, kw_only=True)
    decoupled: bool = field(default=True, kw_only=True)
    name: ClassVar[str] = "adamw"
    label: ClassVar[str] = "AdamW"


@dataclass(frozen=True)
class Nadam(Moments):
    rate: float = 2e-3
    psi: float = 0.004
    name: ClassVar[str] = "nadam"
    label: ClassVar[str] = "Nadam"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            self.beta1 > 0.9999
        ):  # nearer to 1 there would be millions of products that are not negligible
            raise SpecError(f"nadam: beta1 must be at most 0.9999, not {self.beta1}")

    def mu(self, step: int) -> float:
        """Return µ of a step."""
        return self.beta1 * (1 - 0.5 * 0.96 ** (self.psi * step))

    @cached_property
    def products(self) -> tuple[float, ...]:
        """Π₀ = 1, Π₁, …, as far as they are not negligible beside 1, and then 0."""
        found = [1.0]
        while found[-1] > NEGLIGIBLE:
            found.append(found[-1] * self.mu(len(found)))
        return (*found[:-1], 0.0)

    def product(self, step: int) -> float:
        """Return Π of a step."""
        return self.products[min(step, len(self.products) - 1)]


OPTIMIZERS: dict[str, type[Optimizer]] = {}

# The names that users type: of each, the class and the numbers that are not its defaults.
SHORTHANDS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {}


def register_optimizer(
    cls: type[Optimizer], shorthands: dict[str, dict[str, Any]] | None = None
) -> None:
    """Make an optimizer known by its name in recipes and on the command line.

    Parameters
    ----------
    cls : type of Optimizer
    shorthands : dict of str to dict, optional
        Further names to type, each with numbers of the class.
    """
    OPTIMIZERS[cls.name] = cls
    SHORTHANDS[cls.name] = (cls, {})
    for name, numbers in (shorthands or {}).items():
        SHORTHANDS[name] = (cls, numbers)


# In the long run a step has the size rate/(1 - momentum): 0.01 with 0.9 equals the plain 0.1.
register_optimizer(
    SGD,
    {
        "momentum": {"rate": 0.01, "momentum": 0.9},
        "nesterov": {"rate": 0.01, "momentum": 0.9, "nesterov": True},
    },
)
register_optimizer(Adam)
register_optimizer(AdamW)
register_optimizer(Nadam)
register_optimizer(RMSprop)
register_optimizer(Adagrad)
register_optimizer(Adadelta)


def optimizer_names() -> str:
    """Return the names that users type, for help texts: ``sgd, momentum, … or adadelta``."""
    *names, last = SHORTHANDS
    return f"{', '.join(names)} or {last}"


def optimizer(
    name: str, rate: float | None = None, like: str | None = None, **numbers: Any
) -> Optimizer:
    """Return an optimizer by the name that people type.

    Parameters
    ----------
    name : str
        sgd, momentum, nesterov, adam, adamw, nadam, rmsprop, adagrad or adadelta.
    rate : float, optional
        Learning rate; otherwise the optimizer's own default.
    like : "torch" or "keras", optional
        Whose formula and defaults hold where no number is given.
    **numbers
        Any other number.

    Raises
    ------
    SpecError
        Where there is none of that name, or a number makes no sense.
    """
    if not isinstance(name, str) or name not in SHORTHANDS:
        raise SpecError(f"optimizer {name!r} is unknown; {suggest(name, SHORTHANDS)}")
    cls, shorthand = SHORTHANDS[name]
    known = {f.name for f in fields(cls)}
    check_keys(numbers, known, f"optimizer {name}", known)
    values: dict[str, Any] = dict(shorthand)
    values |= conventions.defaults(conventions.OPTIMIZERS, like, cls.name)
    values |= numbers
    if rate is not None:
        values["rate"] = rate
    return cls(**values)
