"""The optimizers as plain data. Where frameworks have two conventions, a setting selects one.

In the formulas w is a weight, g its gradient, η the rate and t the number of the step, from 1.
Every slot is 0 before the first step, except where an initial value is given. docs/differences.md
explains the D numbers.

* sgd: w ← w − η·g; with momentum µ: v ← µ·v + g, w ← w − η·v; Nesterov: w ← w − η·(g + µ·v).
  The velocity v holds gradients (PyTorch), or steps (Keras): then g above is replaced by η·g, and
  the rate is not applied again. At a constant rate the weights are the same (Sutskever et al. 2013;
  D54).
* adam (Kingma & Ba 2015, algorithm 1): m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²,
  m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ), w ← w − η·m̂/(√v̂ + ε).
  With epsilon before the bias correction: w ← w − η·√(1−β₂ᵗ)·m̂/(√v + ε) (Keras; D47).
* adamw (Loshchilov & Hutter 2019, algorithm 2): adam with decoupled weight decay.
* nadam (Dozat 2016): µₜ = β₁·(1 − ½·0.96^(ψt)), Πₜ = µ₁·…·µₜ, m and v as in adam,
  w ← w − η·(µₜ₊₁·m/(1−Πₜ₊₁) + (1−µₜ)·g/(1−Πₜ))/(√v̂ + ε).
  ψ is 0.004 in PyTorch and 1 in Keras (D52).
* rmsprop (Hinton 2012, lecture 6e): v ← ρv + (1−ρ)g², s = g/(√v + ε), w ← w − η·s.
  With epsilon inside: s = g/√(v + ε) (Keras; D48). With momentum as in sgd, with s in place of g.
* adagrad (Duchi et al. 2011): v ← v + g², w ← w − η·g/(√v + ε), with v = initial at the beginning.
  With epsilon inside: w ← w − η·g/√(v + ε) (Keras; D49).
* adadelta (Zeiler 2012, algorithm 1): v ← ρv + (1−ρ)g², δ = √(u + ε)/√(v + ε)·g,
  u ← ρu + (1−ρ)δ², w ← w − η·δ.

Weight decay λ applies to all parameters. Decoupled, it is w ← (1 − η·λ)·w before the update (Keras,
and AdamW); coupled, it is g ← g + λ·w (PyTorch's other classes; D56).
"""

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from ..errors import SpecError
from . import conventions
from .registry import Registry
from .validation import (
    Fraction,
    Positive,
    check_choice,
    check_flag,
    check_keys,
    check_number,
    check_range,
    ranges_of,
)

Holds = Literal["gradients", "steps"]


@dataclass(frozen=True)
class Slot:
    """What an optimizer stores for each parameter under one name.

    Attributes
    ----------
    meaning : str
        What the array holds, in words.
    power : int
        1 for a mean or sum of gradients, 2 for one of their squares, 0 for anything else. A name
        has the same power in every optimizer. It decides how much rounding a proof allows.
    """

    meaning: str
    power: int


VELOCITY = Slot(
    "the running sum of past gradients or steps, which momentum adds to the next step", 1
)
MEAN = Slot("the running mean of the gradient", 1)
MEAN_SQUARE = Slot("the running mean of the squared gradient", 2)
MEAN_SQUARED_STEP = Slot("the running mean of the squared step", 2)
SUM_OF_SQUARES = Slot("the sum of the squared gradients since the first step", 2)

NEGLIGIBLE = 1e-17  # 1 minus this number is 1 in float64


@dataclass(frozen=True)
class Optimizer:
    """Base of every optimizer.

    A field of type `float` must be at least 0, one of type `Positive` above 0, and one of type
    `Fraction` in [0, 1).

    Attributes
    ----------
    rate : float
        η, the learning rate, above 0.
    weight_decay : float
        λ, at least 0.
    decoupled : bool
        Whether the weight decay is decoupled from the gradient.
    """

    rate: Positive
    weight_decay: float = field(default=0.0, kw_only=True)
    decoupled: bool = field(default=False, kw_only=True)
    name: ClassVar[str]
    label: ClassVar[str]
    slot_kinds: ClassVar[dict[str, Slot]] = {}  # of every name that `slots` may have

    def __post_init__(self) -> None:
        ranges = ranges_of(type(self))
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is bool:
                check_flag(self.name, f.name, value)
            elif f.name in ranges:
                check_range(self.name, f.name, value, ranges[f.name])
            elif f.type is float:
                check_number(self.name, f.name, value, 0)

    @classmethod
    def examples(cls) -> "tuple[Optimizer, ...]":
        """Return a few instances for tests; each option should occur in one of them."""
        return (cls(),)  # pyright: ignore[reportCallIssue]

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays that are stored for each parameter, in the parameter's shape."""
        return ()

    @property
    def counts_steps(self) -> bool:
        """Whether the update depends on the number of the step."""
        return False

    def begin(self, slot: str) -> float:
        """Return the value of all elements of a slot before the first step."""
        return 0.0


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Base of the optimizers with momentum.

    Attributes
    ----------
    momentum : float
        µ, in [0, 1); 0 for none.
    velocity : "gradients" or "steps"
        What the velocity is a sum of.
    """

    momentum: Fraction = field(default=0.0, kw_only=True)
    velocity: Holds = field(default="gradients", kw_only=True)
    slot_kinds: ClassVar[dict[str, Slot]] = {"velocity": VELOCITY}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.name, "velocity", self.velocity, get_args(Holds))

    @property
    def slots(self) -> tuple[str, ...]:
        """The velocity, if there is a momentum."""
        return ("velocity",) if self.momentum else ()


@dataclass(frozen=True)
class SGD(Momentum):
    """Stochastic gradient descent, with momentum or Nesterov's momentum if wanted.

    Attributes
    ----------
    nesterov : bool
        Whether Nesterov's momentum is used; it needs a momentum above 0.
    """

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
    """RMSprop (Hinton 2012): gradients divided by the root of their mean square.

    Attributes
    ----------
    rho : float
        ρ, the decay of the mean square, in [0, 1).
    epsilon : float
        ε, above 0.
    epsilon_inside : bool
        Whether ε is added under the root.
    """

    rate: float = 1e-3
    rho: Fraction = 0.9
    epsilon: Positive = 1e-8
    epsilon_inside: bool = False
    name: ClassVar[str] = "rmsprop"
    label: ClassVar[str] = "RMSprop"
    slot_kinds: ClassVar[dict[str, Slot]] = {"v": MEAN_SQUARE, "velocity": VELOCITY}

    @property
    def slots(self) -> tuple[str, ...]:
        """The mean square v, and the velocity if there is a momentum."""
        return ("v", *super().slots)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): gradients divided by the root of the sum of their squares.

    Attributes
    ----------
    epsilon : float
        ε, above 0.
    epsilon_inside : bool
        Whether ε is added under the root.
    initial : float
        The sum of squares before the first step, at least 0.
    """

    rate: float = 0.01
    epsilon: Positive = 1e-10
    epsilon_inside: bool = False
    initial: float = 0.0
    name: ClassVar[str] = "adagrad"
    label: ClassVar[str] = "Adagrad"
    slot_kinds: ClassVar[dict[str, Slot]] = {"v": SUM_OF_SQUARES}

    @property
    def slots(self) -> tuple[str, ...]:
        """The sum of squares v."""
        return ("v",)

    def begin(self, slot: str) -> float:
        """Return `initial`, the sum of squares before the first step."""
        return self.initial


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012): steps scaled by the ratio of two mean squares.

    Attributes
    ----------
    rho : float
        ρ, the decay of both mean squares, in [0, 1).
    epsilon : float
        ε, above 0.
    """

    rate: float = 1.0
    rho: Fraction = 0.9
    epsilon: Positive = 1e-6
    name: ClassVar[str] = "adadelta"
    label: ClassVar[str] = "Adadelta"
    slot_kinds: ClassVar[dict[str, Slot]] = {"v": MEAN_SQUARE, "u": MEAN_SQUARED_STEP}

    @property
    def slots(self) -> tuple[str, ...]:
        """The mean squares v of the gradients and u of the steps."""
        return ("v", "u")


@dataclass(frozen=True)
class Moments(Optimizer):
    """Base of the Adam family: bias-corrected first and second moments of the gradients.

    Attributes
    ----------
    beta1, beta2 : float
        β₁ and β₂, the decays of the first and of the second moment, in [0, 1).
    epsilon : float
        ε, above 0.
    """

    rate: float = 1e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    slot_kinds: ClassVar[dict[str, Slot]] = {"m": MEAN, "v": MEAN_SQUARE}

    @property
    def slots(self) -> tuple[str, ...]:
        """The first moment m and the second moment v."""
        return ("m", "v")

    @property
    def counts_steps(self) -> bool:
        """True: the bias correction depends on the number of steps."""
        return True


@dataclass(frozen=True)
class Adam(Moments):
    """Adam (Kingma & Ba 2015).

    Attributes
    ----------
    epsilon_first : bool
        Whether ε is added before the bias correction.
    """

    epsilon_first: bool = False  # before the bias correction
    name: ClassVar[str] = "adam"
    label: ClassVar[str] = "Adam"


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), 0.01 by default."""

    weight_decay: float = field(default=0.01, kw_only=True)
    decoupled: bool = field(default=True, kw_only=True)
    name: ClassVar[str] = "adamw"
    label: ClassVar[str] = "AdamW"


@dataclass(frozen=True)
class Nadam(Moments):
    """Adam with Nesterov's momentum (Dozat 2016).

    Attributes
    ----------
    psi : float
        ψ, which sets how fast the momentum rises to its final value, at least 0.
    """

    rate: float = 2e-3
    psi: float = 0.004
    name: ClassVar[str] = "nadam"
    label: ClassVar[str] = "Nadam"

    def __post_init__(self) -> None:
        super().__post_init__()
        # With a larger one `products` would have millions of elements.
        if self.beta1 > 0.9999:
            raise SpecError(f"nadam: beta1 must be at most 0.9999, not {self.beta1}")

    def mu(self, step: int) -> float:
        """Return µ of a step, counted from 1."""
        return self.beta1 * (1 - 0.5 * 0.96 ** (self.psi * step))

    @cached_property
    def products(self) -> tuple[float, ...]:
        """Π₀ = 1, Π₁, …, up to the last one that is not negligible, then 0."""
        products = [1.0]
        while products[-1] > NEGLIGIBLE:
            products.append(products[-1] * self.mu(len(products)))
        return (*products[:-1], 0.0)

    def product(self, step: int) -> float:
        """Return Π of a step, counted from 1; Π₀ is 1."""
        return self.products[min(step, len(self.products) - 1)]


OPTIMIZERS: Registry[type[Optimizer]] = Registry()

# The names that users type, each with its class and the settings that differ from the defaults.
SHORTHANDS: Registry[tuple[type[Optimizer], dict[str, Any]]] = Registry()


def register_optimizer(
    cls: type[Optimizer], shorthands: dict[str, dict[str, Any]] | None = None
) -> None:
    """Make an optimizer known by its name in recipes and on the command line.

    Parameters
    ----------
    cls : type of Optimizer
        Its ``name`` is the name.
    shorthands : dict of str to dict, optional
        Further names, each with its settings of the class.

    Raises
    ------
    SpecError
        If a name belongs to another class, or a slot has another power in another optimizer.
    """
    _check_powers(cls)
    OPTIMIZERS[cls.name] = cls
    SHORTHANDS[cls.name] = (cls, {})
    for name, numbers in (shorthands or {}).items():
        SHORTHANDS[name] = (cls, numbers)


def _check_powers(cls: type[Optimizer]) -> None:
    """Raise `SpecError` if a slot has another power than the slot of that name elsewhere."""
    for other in OPTIMIZERS.registered():
        for slot in cls.slot_kinds.keys() & other.slot_kinds.keys():
            power = other.slot_kinds[slot].power
            if cls.slot_kinds[slot].power != power:
                raise SpecError(
                    f"{cls.name}: the slot {slot!r} has power {power} in {other.name}; "
                    "choose another name for it"
                )


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
        The framework whose conventions and defaults apply to settings that are not given.
    **numbers
        Any other settings.

    Raises
    ------
    SpecError
        If the name or a setting is unknown, or a value is out of range.
    """
    cls, shorthand = SHORTHANDS.find("optimizer", name)
    known = {f.name for f in fields(cls)}
    check_keys(numbers, known, f"optimizer {name}", known)
    values: dict[str, Any] = dict(shorthand)
    values |= conventions.defaults(conventions.OPTIMIZERS, like, cls.name)
    values |= numbers
    if rate is not None:
        values["rate"] = rate
    return cls(**values)
