"""Sides in NumPy, with an optimizer that follows a given rule, and comparisons of two of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from triptych.doctor.carrying import Carried
from triptych.doctor.examination import Alignment, Examination, Pair
from triptych.doctor.frameworks.adapter import Unsupported
from triptych.doctor.observation import (
    Arrays,
    Call,
    Change,
    Component,
    Description,
    Layer,
    Observation,
    Updates,
)
from triptych.doctor.optimizers import KERAS, TORCH, described_rule
from triptych.doctor.rules import Problem, Rule, run

SHAPES = {"hidden/kernel": (5, 8), "hidden/bias": (8,), "out/kernel": (8, 3), "out/bias": (3,)}


@dataclass
class NumpySide:
    """A side whose optimizer is a rule.

    Attributes
    ----------
    name : str
        ``A`` or ``B``.
    described : Description
        What it says of itself.
    rule : Rule
        What its optimizer really does.
    rate : float
        Of its optimizer.
    series : list of float
        Its rates, update by update; empty if they are constant.
    """

    is_recorded: ClassVar[bool] = False
    name: str
    described: Description
    rule: Rule | None = None
    rate: float = 0.01
    series: Sequence[float] = ()
    start: Arrays = field(default_factory=dict)
    of_loss: Callable[[Arrays, Arrays], Arrays] | None = None
    of_metric: Callable[[Arrays, Arrays], float] | None = None
    of_epochs: Callable[[list[float]], dict[str, Any]] | None = None
    trained: Arrays = field(default_factory=dict)
    penalties: dict[str, float] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)

    def description(self, dtype: str = "native") -> Description:
        return self.described

    def weights(self, dtype: str = "native") -> Arrays:
        return self.start

    def load(self, weights: Arrays, dtype: str = "native") -> None:
        self.start = weights

    def penalty_gradients(self) -> Arrays:
        return {
            f"penalty_gradient/{name}": factor * self.start[name]
            for name, factor in self.penalties.items()
        }

    def observe(self, inputs: Arrays, **options: Any) -> Observation:
        return Observation((), self.penalty_gradients())

    def rates(self, updates: int, dtype: str = "native") -> list[float]:
        if self.series:
            last = self.series[-1]
            return [*self.series[:updates], *[last] * (updates - len(self.series))]
        return [self.rate] * updates

    def update(self, gradients: Sequence[Arrays], dtype: str = "native") -> Updates:
        rule, rate = self._present()
        rates = self.rates(len(gradients)) if self.series else [rate] * len(gradients)
        problem = Problem.make(self.start, gradients, rates)
        after = run(rule, problem)
        weights = []
        for row in after:
            parts = np.split(row, np.cumsum(problem.sizes)[:-1])
            weights.append(
                {
                    name: part.reshape(self.start[name].shape)
                    for name, part in zip(problem.names, parts, strict=True)
                }
            )
        return Updates(tuple(weights), tuple(rates))

    def _present(self) -> tuple[Rule, float]:
        assert self.rule
        if not self.changed:
            return self.rule, self.rate
        component = self.described.optimizer
        assert component
        settings = {**component.settings, **self.changed}
        described = Description(
            self.described.framework, "", "", "float32", (), Component(component.type, settings)
        )
        rule = described_rule(described)
        assert rule
        rate = settings.get("lr", settings.get("learning_rate"))
        return rule, rate if rate is not None else self.rate

    def change(self, changes: Sequence[Change], dtype: str = "native") -> None:
        if any(change.target != "optimizer" for change in changes):
            raise Unsupported("only the optimizer can be changed")
        self.changed = {change.setting: change.value for change in changes}

    def changeable(self) -> "NumpySide":
        return self

    def recording(self) -> None:
        return None

    def restore(self, dtype: str = "native") -> None:
        self.changed = {}

    def loss(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> Arrays:
        assert self.of_loss
        return self.of_loss(outputs, targets)

    def metric(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> float:
        assert self.of_metric
        return self.of_metric(outputs, targets)

    def epochs(self, validation_losses: Iterable[float], dtype: str = "native") -> dict[str, Any]:
        assert self.of_epochs
        return self.of_epochs([float(loss) for loss in validation_losses])

    def train(
        self, inputs: Arrays, targets: Arrays, steps: int, dtype: str = "native"
    ) -> tuple[Arrays, list[float]]:
        return self.trained, [0.0] * steps


def optimized(
    name: str,
    framework: str,
    optimizer: str,
    *,
    rate: float | None = None,
    does: Rule | None = None,
    series: Sequence[float] = (),
    seed: int = 0,
    given: Sequence[str] = ("model", "loss", "optimizer"),
    **settings: Any,
) -> NumpySide:
    """Return a side with an optimizer of a framework.

    Parameters
    ----------
    name : str
        ``A`` or ``B``.
    framework, optimizer : str
        For example ``torch``, ``SGD``.
    rate : float, optional
        Its learning rate, if it is not the default.
    does : Rule, optional
        What it really does, if that is not what its settings say.
    series : sequence of float
        Rates that change.
    **settings
        By the framework's names.
    """
    form = (TORCH if framework == "torch" else KERAS).get(optimizer)
    if rate is None:
        rate = form.rate if form else 0.01
    steps = {"step_size": settings.pop("step_size", 1)}
    schedule = Component("StepLR", steps, "batch") if series else None
    key = "lr" if framework == "torch" else "learning_rate"
    component = Component(optimizer, {key: rate, **settings})
    described = Description(
        framework, "", "", "float64", (), component, schedule=schedule, given=tuple(given)
    )
    rule = does or described_rule(described)
    generator = np.random.default_rng(seed)
    start = {key: generator.normal(0, 0.3, shape) for key, shape in SHAPES.items()}
    return NumpySide(name, described, rule, rate, series, start)


def compared(
    a: NumpySide, b: NumpySide, *, size: float = 0.03, a_arrays: Arrays | None = None,
    b_arrays: Arrays | None = None, batch: Arrays | None = None, targets: Arrays | None = None,
) -> Examination:  # fmt: skip
    """Return the examination of two sides with the same weights, after the forward stages.

    Parameters
    ----------
    a, b : NumpySide
        The sides.
    size : float
        Of the gradients.
    a_arrays, b_arrays : dict of str to ndarray, optional
        Further arrays of the observations.
    batch, targets : dict of str to ndarray, optional
        The batch, and its targets.
    """
    generator = np.random.default_rng(1)
    gradients = {
        f"gradient/{name}": size * generator.normal(size=array.shape)
        for name, array in a.start.items()
    }
    examination = Examination(a, b, batch or {}, "float64", a.described, b.described)
    carriages = [Carried(name, name, w.shape, w.shape) for name, w in a.start.items()]
    pairs: tuple[Pair, ...] = ()
    shapes: dict[str, tuple[int, ...]] = {}
    if b_arrays and "0/output" in b_arrays:
        layer = Layer("out", "Linear", "dense", roles=("kernel", "bias"))
        pairs = (Pair(layer, layer, (0,), (0,)),)
        shapes = {"0/output": b_arrays["0/output"].shape}
    examination.alignment = Alignment(pairs, {}, tuple(carriages), shapes)
    call = Call(0, "out", "Linear", "dense", anchor=True)
    examination.a_training = Observation((call,), {**gradients, **(a_arrays or {})})
    examination.b_training = Observation((call,), {**gradients, **(b_arrays or {})})
    examination.a_evaluation = Observation((call,), a_arrays or {})
    examination.b_evaluation = Observation((call,), b_arrays or {})
    examination.targets = targets or {}
    return examination
