"""The update rules of optimizers in NumPy, in one vocabulary for all frameworks.

A rule works on all weights as one vector, so that a rule with thirty settings costs as much as one
with three. The formulas were read in the frameworks' sources (``torch/optim``,
``keras/src/optimizers``) and are compared with the optimizers themselves in the tests.

Settings that every rule has:

================  ================================================================================
setting           meaning
================  ================================================================================
clip              ``none``, ``value``, ``norm`` (of each weight array), ``global_norm``
limit             of the clipping
clip_epsilon      what is added to a norm before the limit is divided by it
joined            groups of weights that the framework keeps in one array, which has one norm
forms             by weight, the shape of the framework's array where it has other axes
decay             factor of the weight decay
decay_form        ``coupled``: added to the gradient; ``decoupled``: rate · decay · w is subtracted;
                  ``absolute``: decay · w is subtracted
undecayed         names of weights that do not decay
penalty           by weight, what is added to its gradient before it is clipped: factor · w
accumulate        number of gradients for one update
accumulate_form   ``mean`` or ``sum`` of them
factors           by weight, by what its rate is multiplied
maximize          whether it maximizes the loss
average           decay of a moving average of the weights
overwrite         after how many updates the average takes the place of the weights; 0 for never
single            whether those constants pass through float32 that do so in Keras
================  ================================================================================

Settings of some rules: ``momentum``; ``dampening`` (of the gradients, except the first);
``nesterov``; ``rate_inside`` (the velocity sums rate · gradient, or the gradient); ``beta1``,
``beta2``; ``rho``; ``epsilon``; ``epsilon_place`` (``outside`` the root after the correction of the
bias; ``hat``: outside, before the correction; ``inside`` the root; ``maximum``: in Adamax's
maximum; ``weight``: added to the weight); ``correction`` (of the bias); ``frozen`` (the number of
the step stays 1); ``amsgrad``; ``centered``; ``initial`` (of the accumulator); ``momentum_decay``;
``rounded`` (the product of Nadam's momenta is float32); ``rate_decay``; ``beta2_decay``,
``epsilon1`` (None: that of float64), ``epsilon2``, ``threshold`` of Adafactor; ``limited`` (epsilon
1 is the least of what it divides by, or is added to squares); ``spatial_last`` (the last two axes
of a convolution's kernel are those of the window).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from .observation import Array, Arrays, Settings

EPSILON_OF_FLOAT64 = 2.0**-52

COMMON: Settings = {
    "clip": "none",
    "limit": 0.0,
    "clip_epsilon": 0.0,
    "joined": (),
    "forms": {},
    "decay": 0.0,
    "decay_form": "coupled",
    "undecayed": (),
    "penalty": {},
    "accumulate": 1,
    "accumulate_form": "mean",
    "factors": {},
    "maximize": False,
    "average": 0.0,
    "overwrite": 0,
    "single": False,
}


@dataclass(frozen=True)
class Rule:
    """An update rule.

    Attributes
    ----------
    family : str
        One of `FAMILIES`.
    settings : dict
        All settings of the family and `COMMON`.
    """

    family: str
    settings: Settings

    @classmethod
    def make(cls, family: str, **settings: Any) -> "Rule":
        """Return a rule; settings that are not given have the family's defaults."""
        known = {**COMMON, **FAMILIES[family].defaults}
        unknown = set(settings) - set(known)
        assert not unknown, unknown
        return cls(family, {**known, **settings})

    def with_settings(self, **settings: Any) -> "Rule":
        """Return the same rule with other settings."""
        return replace(self, settings={**self.settings, **settings})


@dataclass(frozen=True)
class Problem:
    """What a rule is applied to: all weights as one vector.

    Attributes
    ----------
    names : tuple of str
        The weight arrays, in order.
    sizes : tuple of int
        The size of each.
    weights : ndarray, shape (weights,)
        Before the first update, float64.
    gradients : ndarray, shape (updates, weights)
        float64.
    rates : ndarray, shape (updates,)
        The learning rate of each update.
    sample : ndarray of int, shape (elements,)
        The elements whose updates are computed.
    shapes : tuple of tuple of int
        The shape of each weight array.
    others : ndarray, shape (updates, other weights)
        The gradients of weights that the optimizer has besides: they count in the norm of all.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    weights: Array
    gradients: Array
    rates: Array
    sample: Array = field(repr=False)
    shapes: tuple[tuple[int, ...], ...]
    others: Array = field(repr=False)

    @classmethod
    def make(
        cls,
        weights: Arrays,
        gradients: Sequence[Arrays],
        rates: Iterable[float],
        elements: int | None = None,
        names: Iterable[str] | None = None,
    ) -> "Problem":
        """Return the problem of named arrays.

        Parameters
        ----------
        weights : dict of str to ndarray
            Before the first update; only those with gradients count.
        gradients : sequence of dict
            For each update.
        rates : iterable of float
            For each update.
        elements : int, optional
            At most so many elements are computed, about as many of each array.
        names : iterable of str, optional
            The weights that are computed; all if not given.
        """
        names = tuple(gradients[0] if names is None else names)
        others = [name for name in gradients[0] if name not in names]
        sizes = tuple(weights[name].size for name in names)
        return cls(
            names,
            sizes,
            flat(weights, names),
            np.stack([flat(each, names) for each in gradients]),
            np.asarray(list(rates), np.float64),
            _sample(sizes, elements),
            tuple(weights[name].shape for name in names),
            np.stack([flat(each, others) for each in gradients]),
        )

    def spread(self, values: Mapping[str, float], default: float) -> Array:
        """Return the value of each sampled element's array."""
        by_name = np.array([values.get(name, default) for name in self.names], np.float64)
        return np.repeat(by_name, self.sizes)[self.sample]

    def select(self, arrays: Sequence[Arrays]) -> Array:
        """Return the sampled elements of named arrays, shape (updates, elements)."""
        return np.stack([flat(each, self.names)[self.sample] for each in arrays])

    def with_rates(self, rates: Iterable[float]) -> "Problem":
        """Return the same problem with other rates."""
        return replace(self, rates=np.asarray(list(rates), np.float64))

    def with_all_elements(self) -> "Problem":
        """Return the same problem, in which the updates of every element are computed."""
        return replace(self, sample=np.arange(sum(self.sizes)))

    def tensors(
        self, groups: Iterable[Sequence[str]], forms: Mapping[str, tuple[int, ...]]
    ) -> list[Array]:
        """Return the places of the elements of each array that the framework has.

        Parameters
        ----------
        groups : iterable of sequence of str
            Names of weights that are one array: two biases are its rows, kernels follow each other
            along the last axis.
        forms : mapping of str to tuple of int
            The shapes of single weights that have other axes in the framework.
        """
        every = np.arange(sum(self.sizes))
        parts = np.split(every, np.cumsum(self.sizes)[:-1])
        named = {
            name: part.reshape(forms.get(name, shape))
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }
        found: list[Array] = []
        for names in groups:
            members = [named.pop(name) for name in names]
            rows = all(name.endswith(("/bias", "recurrent_bias")) for name in names)
            found.append(np.stack(members) if rows else np.concatenate(members, -1))
        return [*named.values(), *found]

    def shorter(self, updates: int) -> "Problem":
        """Return the first updates of the problem."""
        return self.with_updates(range(updates)).with_rates(self.rates[:updates])

    def with_updates(self, numbers: Sequence[int]) -> "Problem":
        """Return the same problem with the gradients of some updates, in this order."""
        order = list(numbers)
        return replace(self, gradients=self.gradients[order], others=self.others[order])

    def norms(self, values: Array, groups: Iterable[Sequence[str]]) -> Array:
        """Return the length of each weight array, given values of all elements.

        Parameters
        ----------
        values : ndarray, shape (weights,)
            The values.
        groups : iterable of sequence of str
            Names of arrays that have one length together.
        """
        squares = np.add.reduceat(values * values, np.cumsum([0, *self.sizes[:-1]]))
        for names in groups:
            places = np.flatnonzero(np.isin(self.names, names))
            squares[places] = squares[places].sum()
        return np.sqrt(squares)


def flat(arrays: Arrays, names: Iterable[str]) -> Array:
    """Return arrays as one float64 vector."""
    parts = [np.asarray(arrays[name], np.float64).ravel() for name in names]
    return np.concatenate(parts) if parts else np.zeros(0)


def _sample(sizes: Sequence[int], elements: int | None) -> Array:
    total = sum(sizes)
    if elements is None or total <= elements:
        return np.arange(total)
    share = max(1, elements // len(sizes))
    starts = np.cumsum([0, *sizes[:-1]])
    # Evenly spaced, so that every row and column of an array occurs.
    parts = [
        start + np.unique(np.linspace(0, size - 1, min(size, share)).astype(np.int64))
        for start, size in zip(starts, sizes, strict=True)
    ]
    return np.concatenate(parts)


def run(rule: Rule, problem: Problem) -> Array:
    """Apply a rule.

    Returns
    -------
    ndarray, shape (updates, elements)
        The sampled weights after each update.
    """
    settings = rule.settings
    if FAMILIES[rule.family].whole and len(problem.sample) < sum(problem.sizes):
        return run(rule, problem.with_all_elements())[:, problem.sample]
    constant = _single if settings["single"] else float
    stepper = FAMILIES[rule.family].stepper(settings, constant, problem)
    decay = _decay(settings, constant, problem)
    penalty = problem.spread(settings["penalty"], 0.0)
    factors = problem.spread(settings["factors"], 1.0)
    count = settings["accumulate"]
    scales = _clipping(settings, problem)
    weights = problem.weights[problem.sample].copy()
    after = np.empty((len(problem.gradients), len(weights)))
    waiting = np.zeros_like(weights)
    averaged = _Averaging(settings, weights)
    with np.errstate(all="ignore"):
        for step, full in enumerate(problem.gradients):
            gradient = full[problem.sample] + penalty * weights
            if count > 1:
                waiting = waiting + gradient
                if (step + 1) % count:
                    weights = averaged.after(step // count, weights)
                    after[step] = weights
                    continue
                gradient = waiting / count if settings["accumulate_form"] == "mean" else waiting
                waiting = np.zeros_like(weights)
            gradient = scales(step, gradient)
            if settings["maximize"]:
                gradient = -gradient
            rate = problem.rates[step] * factors
            if settings["decay_form"] == "coupled":
                gradient = gradient + decay * weights
            elif settings["decay_form"] == "decoupled":
                weights = weights - weights * decay * rate
            else:
                weights = weights - weights * decay
            weights = averaged.after(step // count, stepper.step(weights, gradient, rate))
            after[step] = weights
    return after


Constant = Callable[[float], float]


class _Averaging:
    """A moving average that takes the place of the weights after some updates."""

    def __init__(self, settings: Settings, weights: Array) -> None:
        self.decay = settings["average"]
        self.every = settings["overwrite"]
        self.average = weights

    def after(self, number: int, weights: Array) -> Array:
        """Return the weights after the update of this number: their own, or the average."""
        if not self.every:
            return weights
        decay = self.decay if number else 0.0
        self.average = decay * self.average + (1 - decay) * weights
        return weights if (number + 1) % self.every else self.average


def _single(value: float) -> float:
    """Return a constant as it is after a conversion to float32."""
    return float(np.float32(value))


def _decay(settings: Settings, constant: Constant, problem: Problem) -> Array:
    factor = constant(settings["decay"])
    return problem.spread(dict.fromkeys(settings["undecayed"], 0.0), factor)


def _clipping(settings: Settings, problem: Problem) -> Callable[[int, Array], Array]:
    """Return what clips the gradient of an update."""
    kind = settings["clip"]
    limit = settings["limit"]
    if kind == "none":
        return lambda step, gradient: gradient
    if kind == "value":
        return lambda step, gradient: np.clip(gradient, -limit, limit)
    count = settings["accumulate"]
    together = kind == "global_norm"
    groups = [problem.names] if together else settings["joined"]

    def summed(gradients: Array, step: int) -> Array:
        total = gradients[step + 1 - count : step + 1].sum(axis=0)
        return total / count if settings["accumulate_form"] == "mean" else total

    def scaled(step: int, gradient: Array) -> Array:
        norms = problem.norms(summed(problem.gradients, step), groups)
        if together:
            norms = np.hypot(norms, np.linalg.norm(summed(problem.others, step)))
        scale = np.minimum(1.0, limit / (norms + settings["clip_epsilon"]))
        return gradient * np.repeat(scale, problem.sizes)[problem.sample]

    return scaled


class Stepper(Protocol):
    """A rule on its way, with its slots."""

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        ...


class SGD:
    """Gradient descent, with momentum.

    The buffer of `torch.optim.SGD` sums gradients, the velocity of `keras.optimizers.SGD`
    rate · gradient.
    """

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.momentum = constant(settings["momentum"])
        self.kept = 1 - constant(settings["dampening"])
        self.nesterov = settings["nesterov"]
        self.inside = settings["rate_inside"]
        self.velocity: Array | None = None

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        if not self.momentum:
            return weights - rate * gradient
        new = rate * gradient if self.inside else gradient
        if self.velocity is None:
            self.velocity = new
        else:
            self.velocity = self.momentum * self.velocity + self.kept * new
        direction = self.velocity
        if self.nesterov:
            direction = new + self.momentum * self.velocity
        return weights - (direction if self.inside else rate * direction)


class Moments:
    """The moving means of gradients and of their squares, as Adam keeps them."""

    def __init__(
        self, settings: Settings, constant: Constant, problem: Problem, initial: float = 0.0
    ) -> None:
        self.beta1 = constant(settings["beta1"])
        self.beta2 = constant(settings["beta2"])
        self.new1 = 1 - settings["beta1"]
        self.new2 = 1 - settings["beta2"]
        self.epsilon = settings["epsilon"]
        self.mean = np.zeros(len(problem.sample))
        self.square = np.full(len(problem.sample), initial)
        self.number = 0

    def add(self, gradient: Array) -> None:
        """Take a gradient in."""
        self.number += 1
        self.mean = self.mean + (gradient - self.mean) * self.new1
        self.square = self.square + (gradient * gradient - self.square) * self.new2


class Adam(Moments):
    """Adam of Kingma and Ba (2015), with its variants."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        super().__init__(settings, constant, problem, settings["initial"])
        self.settings = settings
        self.largest = np.zeros(len(problem.sample))

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.add(gradient)
        square = self.square
        if self.settings["amsgrad"]:
            self.largest = np.maximum(self.largest, square)
            square = self.largest
        first, second = 1.0, 1.0
        if self.settings["correction"]:
            number = 1 if self.settings["frozen"] else self.number
            first = 1 - self.beta1**number
            second = 1 - self.beta2**number
        return weights - self._change(square, rate, first, second)

    def _change(self, square: Array, rate: Array, first: float, second: float) -> Array:
        place = self.settings["epsilon_place"]
        if place == "hat":
            return self.mean * (rate * np.sqrt(second) / first) / (np.sqrt(square) + self.epsilon)
        if place == "inside":
            return rate * (self.mean / first) / np.sqrt(square / second + self.epsilon)
        root = np.sqrt(square / second)
        if place == "weight":
            return rate * (self.mean / first) / root - self.epsilon
        return rate * (self.mean / first) / (root + self.epsilon)


class Adamax:
    """Adamax of Kingma and Ba (2015)."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.beta1 = constant(settings["beta1"])
        self.beta2 = settings["beta2"]
        self.new1 = 1 - settings["beta1"]
        self.epsilon = settings["epsilon"]
        self.in_maximum = settings["epsilon_place"] == "maximum"
        self.mean = np.zeros(len(problem.sample))
        self.norm = np.zeros(len(problem.sample))
        self.number = 0

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.number += 1
        self.mean = self.mean + (gradient - self.mean) * self.new1
        inside = self.epsilon if self.in_maximum else 0.0
        outside = 0.0 if self.in_maximum else self.epsilon
        self.norm = np.maximum(self.norm * self.beta2, np.abs(gradient) + inside)
        first = 1 - self.beta1**self.number
        return weights - rate * self.mean / (first * (self.norm + outside))


class Nadam:
    """Nadam of Dozat (2016), with its schedule of the momentum."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.settings = settings
        self.beta1 = constant(settings["beta1"])
        self.beta2 = constant(settings["beta2"])
        self.epsilon = settings["epsilon"]
        self.base = constant(0.96) ** settings["momentum_decay"]
        self.rounded = settings["rounded"]
        self.mean = np.zeros(len(problem.sample))
        self.square = np.zeros(len(problem.sample))
        self.number = 0
        self.product = 1.0

    def _momentum(self, number: int) -> float:
        return self.beta1 * (1 - 0.5 * self.base**number)

    def _factor(self, number: int) -> float:
        """Return by what the product of all momenta grows."""
        # Keras computes the product apart, and there its constants are double.
        decay = 0.96 ** self.settings["momentum_decay"]
        factor = self.settings["beta1"] * (1 - 0.5 * decay**number)
        return _single(factor) if self.rounded else factor

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.number += 1
        present = self._momentum(self.number)
        following = self._momentum(self.number + 1)
        self.product *= self._factor(self.number)
        if self.rounded:
            self.product = _single(self.product)
        self.mean = self.mean + (gradient - self.mean) * (1 - self.beta1)
        self.square = self.square + (gradient * gradient - self.square) * (1 - self.beta2)
        second = 1 - self.beta2**self.number
        direction = following * self.mean / (1 - self.product * following)
        direction = direction + (1 - present) * gradient / (1 - self.product)
        return weights - rate * direction / (np.sqrt(self.square / second) + self.epsilon)


class RAdam:
    """RAdam of Liu and others (2020)."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.beta1 = settings["beta1"]
        self.beta2 = settings["beta2"]
        self.epsilon = settings["epsilon"]
        self.mean = np.zeros(len(problem.sample))
        self.square = np.zeros(len(problem.sample))
        self.number = 0

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.number += 1
        self.mean = self.mean + (gradient - self.mean) * (1 - self.beta1)
        self.square = self.square + (gradient * gradient - self.square) * (1 - self.beta2)
        first = 1 - self.beta1**self.number
        second = 1 - self.beta2**self.number
        longest = 2 / (1 - self.beta2) - 1
        length = longest - 2 * self.number * self.beta2**self.number / second
        direction = self.mean / first
        if length > 5:
            share = (length - 4) * (length - 2) * longest
            share /= (longest - 4) * (longest - 2) * length
            root = np.sqrt(self.square) + self.epsilon
            direction = direction * np.sqrt(second) / root * np.sqrt(share)
        return weights - rate * direction


class RMSprop:
    """RMSprop of Tieleman and Hinton (2012)."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.settings = settings
        self.rho = settings["rho"]
        self.new = 1 - settings["rho"]
        self.momentum = settings["momentum"]
        self.epsilon = settings["epsilon"]
        self.square = np.full(len(problem.sample), settings["initial"])
        self.mean = np.zeros(len(problem.sample))
        self.velocity = np.zeros(len(problem.sample))

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.square = self.rho * self.square + self.new * gradient * gradient
        square = self.square
        if self.settings["centered"]:
            self.mean = self.rho * self.mean + self.new * gradient
            square = square - self.mean * self.mean
        if self.settings["epsilon_place"] == "inside":
            scaled = gradient / np.sqrt(square + self.epsilon)
        else:
            scaled = gradient / (np.sqrt(square) + self.epsilon)
        if not self.momentum:
            return weights - rate * scaled
        if self.settings["rate_inside"]:
            self.velocity = self.momentum * self.velocity + rate * scaled
            return weights - self.velocity
        self.velocity = self.momentum * self.velocity + scaled
        return weights - rate * self.velocity


class Adagrad:
    """Adagrad of Duchi and others (2011)."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.inside = settings["epsilon_place"] == "inside"
        self.epsilon = settings["epsilon"]
        self.rate_decay = settings["rate_decay"]
        self.square = np.full(len(problem.sample), constant(settings["initial"]))
        self.number = 0

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        rate = rate / (1 + self.number * self.rate_decay)
        self.number += 1
        self.square = self.square + gradient * gradient
        if self.inside:
            return weights - rate * gradient / np.sqrt(self.square + self.epsilon)
        return weights - rate * gradient / (np.sqrt(self.square) + self.epsilon)


class Adadelta:
    """Adadelta of Zeiler (2012)."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.rho = settings["rho"]
        self.new = 1 - settings["rho"]
        self.epsilon = settings["epsilon"]
        self.square = np.zeros(len(problem.sample))
        self.steps = np.zeros(len(problem.sample))

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.square = self.rho * self.square + self.new * gradient * gradient
        ratio = np.sqrt(self.steps + self.epsilon) / np.sqrt(self.square + self.epsilon)
        change = ratio * gradient
        self.steps = self.rho * self.steps + self.new * change * change
        return weights - rate * change


class ASGD:
    """Averaged gradient descent of `torch.optim.ASGD`; the average is not what the model has."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.shrink = settings["shrink"]
        self.power = settings["power"]
        self.rate: Array | None = None
        self.number = 0

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.number += 1
        present = _float32(rate) if self.rate is None else self.rate
        self.rate = _float32(rate / (1 + self.shrink * rate * self.number) ** self.power)
        return weights * (1 - self.shrink * present) - present * gradient


def _float32(rate: Array) -> Array:
    """Return a rate as PyTorch keeps it."""
    return rate.astype(np.float32).astype(np.float64)


class Rprop:
    """Resilient propagation of Riedmiller and Braun (1993)."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.settings = settings
        self.before = np.zeros(len(problem.sample))
        self.size: Array | None = None

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        size = np.broadcast_to(rate, weights.shape) if self.size is None else self.size
        sign = np.sign(gradient * self.before)
        factor = np.where(sign > 0, self.settings["grow"], 1.0)
        factor = np.where(sign < 0, self.settings["cut"], factor)
        self.size = np.clip(size * factor, self.settings["smallest"], self.settings["largest"])
        self.before = np.where(sign < 0, 0.0, gradient)
        return weights - np.sign(self.before) * self.size


class Lion:
    """Lion of Chen and others (2023)."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.beta1 = constant(settings["beta1"])
        self.beta2 = constant(settings["beta2"])
        self.mean = np.zeros(len(problem.sample))

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        direction = np.sign(self.mean * self.beta1 + gradient * (1 - self.beta1))
        self.mean = self.mean * self.beta2 + gradient * (1 - self.beta2)
        return weights - rate * direction


class Ftrl:
    """FTRL of McMahan and others (2013), as `keras.optimizers.Ftrl` has it."""

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.power = -settings["power"]
        self.l1 = settings["l1"]
        self.l2 = settings["l2"]
        self.shrinkage = 2 * settings["shrinkage"]
        self.beta = settings["beta"]
        self.square = np.full(len(problem.sample), constant(settings["initial"]))
        self.linear = np.zeros(len(problem.sample))

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        square = self.square + gradient * gradient
        new = square**self.power
        sigma = (new - self.square**self.power) / rate
        self.linear = self.linear + gradient + self.shrinkage * weights - sigma * weights
        self.square = square
        quadratic = new / rate + 2 * (self.l2 + self.beta / (2 * rate))
        return (np.clip(self.linear, -self.l1, self.l1) - self.linear) / quadratic


class Lamb(Moments):
    """LAMB of You and others (2020), as `keras.optimizers.Lamb` has it.

    The step of each weight array is as long as the array, times the rate.
    """

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        super().__init__(settings, constant, problem)
        self.problem = problem
        self.joined = settings["joined"]

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.add(gradient)
        mean = self.mean / (1 - self.beta1**self.number)
        root = np.sqrt(self.square / (1 - self.beta2**self.number)) + self.epsilon
        update = mean / root
        lengths, steps = (self.problem.norms(each, self.joined) for each in (weights, update))
        measured = (lengths > 0) & (steps > 0)
        ratios = np.divide(lengths, steps, out=np.ones_like(lengths), where=measured)
        return weights - np.repeat(ratios, self.problem.sizes) * rate * update


class Adafactor:
    """Adafactor of Shazeer and Stern (2018): second moments of rows and columns only.

    `torch.optim.Adafactor` limits what it divides by, `keras.optimizers.Adafactor` adds epsilon 1
    to the squares. Both take the last two axes of their own layout.
    """

    def __init__(self, settings: Settings, constant: Constant, problem: Problem) -> None:
        self.settings = settings
        self.problem = problem
        self.epsilon1 = settings["epsilon1"] or EPSILON_OF_FLOAT64
        self.epsilon2 = constant(settings["epsilon2"])
        self.threshold = settings["threshold"]
        self.decay = constant(settings["decay"])
        self.places = problem.tensors(settings["joined"], settings["forms"])
        self.rows: list[Any] = [0.0] * len(self.places)
        self.columns: list[Any] = [0.0] * len(self.places)
        self.number = 0

    def step(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after an update."""
        self.number += 1
        rates = np.broadcast_to(rate, weights.shape)
        new = np.empty_like(weights)
        for number, places in enumerate(self.places):
            first = float(rates[places.flat[0]])
            new[places] = self._array(number, weights[places], gradient[places], first)
        return new

    def _array(self, place: int, weight: Array, gradient: Array, rate: float) -> Array:
        """Return one weight array after an update."""
        share = self.number ** self.settings["beta2_decay"]
        update = gradient / np.sqrt(self._square(place, gradient, share))
        update = update / max(1.0, _root_mean_square(update) / self.threshold)
        before = weight
        if self.settings["limited"]:
            before = weight / (1 - self.decay * rate)  # its length before the decay counts
        size = max(self.epsilon2, _root_mean_square(before))
        return weight - size * min(rate, 1 / self.number**0.5) * update

    def _square(self, place: int, gradient: Array, share: float) -> Array:
        """Return the second moments of one array, and keep those of its rows and columns."""
        limited = self.settings["limited"]
        squares = gradient * gradient + (0.0 if limited else self.epsilon1)
        least = self.epsilon1**2 if limited else 0.0
        if gradient.ndim < 2:
            self.rows[place] = self.rows[place] * (1 - share) + squares * share
            return np.maximum(self.rows[place], least)
        order = list(range(gradient.ndim))
        if self.settings["spatial_last"] and gradient.ndim > 2:
            order = [order[-1], order[-2], *order[:-2]]
        squares = squares.transpose(order)
        rows, columns = squares.mean(-1, keepdims=True), squares.mean(-2, keepdims=True)
        self.rows[place] = self.rows[place] * (1 - share) + rows * share
        self.columns[place] = self.columns[place] * (1 - share) + columns * share
        mean = np.maximum(
            self.rows[place].mean(-2, keepdims=True), self.epsilon1 if limited else 0.0
        )
        estimate = self.rows[place] * self.columns[place] / mean
        return np.maximum(estimate.transpose(np.argsort(order)), least)


def _root_mean_square(array: Array) -> float:
    return float(np.sqrt(np.mean(array * array)))


@dataclass(frozen=True)
class Family:
    """A kind of rule.

    Attributes
    ----------
    name : str
        As people call it.
    stepper : class
        Its formula.
    defaults : dict
        Its settings.
    whole : bool
        Whether an update needs all elements of an array.
    shaped : bool
        Whether it depends on the shape of an array.
    """

    name: str
    stepper: Callable[[Settings, Constant, Problem], Stepper]
    defaults: Settings
    whole: bool = False
    shaped: bool = False


_MOMENTS: Settings = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

# The families that users write themselves.
OFTEN_WRITTEN = ("sgd", "adam", "rmsprop", "adagrad")
# Those that square gradients.
SQUARING = ("adam", "rmsprop", "adagrad", "nadam", "adadelta")

FAMILIES: dict[str, Family] = {
    "sgd": Family(
        "SGD",
        SGD,
        {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "rate_inside": False},
    ),
    "adam": Family(
        "Adam",
        Adam,
        {
            **_MOMENTS,
            "epsilon_place": "outside",
            "amsgrad": False,
            "correction": True,
            "frozen": False,
            "initial": 0.0,
        },
    ),
    "adamax": Family("Adamax", Adamax, {**_MOMENTS, "epsilon_place": "maximum"}),
    "nadam": Family("Nadam", Nadam, {**_MOMENTS, "momentum_decay": 0.004, "rounded": False}),
    "radam": Family("RAdam", RAdam, dict(_MOMENTS)),
    "rmsprop": Family(
        "RMSprop",
        RMSprop,
        {
            "rho": 0.99,
            "epsilon": 1e-8,
            "epsilon_place": "outside",
            "centered": False,
            "momentum": 0.0,
            "rate_inside": False,
            "initial": 0.0,
        },
    ),
    "adagrad": Family(
        "Adagrad",
        Adagrad,
        {"epsilon": 1e-10, "epsilon_place": "outside", "initial": 0.0, "rate_decay": 0.0},
    ),
    "adadelta": Family("Adadelta", Adadelta, {"rho": 0.9, "epsilon": 1e-6}),
    "lamb": Family("LAMB", Lamb, dict(_MOMENTS), whole=True),
    "adafactor": Family(
        "Adafactor",
        Adafactor,
        {
            "beta2_decay": -0.8,
            "epsilon1": None,
            "epsilon2": 1e-3,
            "threshold": 1.0,
            "limited": True,
            "spatial_last": True,
        },
        whole=True,
        shaped=True,
    ),
    "asgd": Family("ASGD", ASGD, {"shrink": 1e-4, "power": 0.75}),
    "rprop": Family("Rprop", Rprop, {"cut": 0.5, "grow": 1.2, "smallest": 1e-6, "largest": 50.0}),
    "lion": Family("Lion", Lion, {"beta1": 0.9, "beta2": 0.99}),
    "ftrl": Family(
        "FTRL",
        Ftrl,
        {"power": -0.5, "l1": 0.0, "l2": 0.0, "shrinkage": 0.0, "beta": 0.0, "initial": 0.1},
    ),
}
