"""A side of a comparison in NumPy: a chain of steps whose every formula is written here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from triptych.doctor.examination import Examination
from triptych.doctor.forcing import run, targets_of
from triptych.doctor.frameworks.adapter import Unsupported
from triptych.doctor.observation import (
    Arrays,
    Call,
    Change,
    Component,
    Description,
    Layer,
    Observation,
    array_names,
)
from triptych.doctor.resizing import METHODS, resize
from triptych.doctor.settling import aligned

RESIZED = (5, 7)  # height and width of resized images


@dataclass(frozen=True)
class Step:
    """A layer or function.

    Attributes
    ----------
    path : str
        The path of the layer; empty for a function.
    kind : str
        The canonical kind.
    settings : dict
        Canonical settings.
    weights : dict of str to ndarray
        By role.
    name : str
        The class or the function; the kind if empty.
    changeable : bool
        Whether its settings can be changed from outside.
    seen : bool
        Whether an adapter sees it.
    """

    path: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    weights: Arrays = field(default_factory=dict)
    name: str = ""
    changeable: bool = True
    seen: bool = True


def dense(path: str, inputs: int, outputs: int, seed: int, bias: bool = True) -> Step:
    """Return a dense layer with random weights."""
    generator = np.random.default_rng(seed)
    weights = {"kernel": generator.normal(size=(inputs, outputs)) / inputs**0.5}
    if bias:
        weights["bias"] = generator.normal(size=outputs) * 0.1
    return Step(path, "dense", {}, weights, "Linear")


def layer_norm(path: str, features: int, epsilon: float) -> Step:
    weights = {"scale": np.linspace(0.5, 1.5, features), "offset": np.linspace(-1, 1, features)}
    return Step(path, "layer_norm", {"epsilon": epsilon}, weights, "LayerNorm")


def batch_norm(path: str, features: int, epsilon: float, seed: int = 0) -> Step:
    generator = np.random.default_rng(seed)
    weights = {
        "scale": np.ones(features),
        "offset": np.zeros(features),
        "mean": generator.normal(size=features) * 0.1,
        "variance": generator.uniform(0.01, 0.1, features),
    }
    return Step(path, "batch_norm", {"epsilon": epsilon}, weights, "BatchNorm1d")


def activation(function: str, path: str = "", **settings: Any) -> Step:
    changeable = settings.pop("changeable", True)
    seen = settings.pop("seen", True)
    name = settings.pop("name", function)
    return Step(path, "activation", {"function": function} | settings, {}, name, changeable, seen)


def _moments(x: Any) -> Any:
    return x.mean(-1, keepdims=True), x.var(-1, keepdims=True)


def _apply(step: Step, x: Any, training: bool) -> Any:
    settings, weights = step.settings, step.weights
    if step.kind == "dense":
        return x @ weights["kernel"] + weights.get("bias", 0.0)
    if step.kind == "layer_norm":
        mean, variance = _moments(x)
        normal = (x - mean) / np.sqrt(variance + settings["epsilon"])
        return normal * weights["scale"] + weights["offset"]
    if step.kind == "batch_norm":
        batch = settings.get("batch_statistics", training)
        mean = x.mean(0) if batch else weights["mean"]
        variance = x.var(0) if batch else weights["variance"]
        normal = (x - mean) / np.sqrt(variance + settings["epsilon"])
        return normal * weights["scale"] + weights["offset"]
    if step.kind == "resize":
        return resize(x, METHODS[step.name], *RESIZED)
    return FUNCTIONS[step.kind](x, settings)


def _activate(x: Any, settings: dict[str, Any]) -> Any:
    function = settings["function"]
    if function == "leaky_relu":
        return np.where(x > 0, x, settings["slope"] * x)
    return ACTIVATIONS[function](x)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "softmax over the batch": lambda x: np.exp(x) / np.exp(x).sum(0),
    "log_softmax": lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "clip": lambda x: np.clip(x, 0, 1),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid of Keras 2": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}


def _flatten(x: Any, settings: dict[str, Any]) -> Any:
    if settings["order"] == "channels_first":
        x = np.moveaxis(x, -1, 1)
    return x.reshape(len(x), -1)


FUNCTIONS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "activation": _activate,
    "flatten": _flatten,
    "rescaling": lambda x, settings: x * settings["scale"] + settings.get("offset", 0.0),
    "dropout": lambda x, settings: x,
    "function": lambda x, settings: x * settings["factor"],
    "reshape": lambda x, settings: x.reshape(len(x), *settings["to"][1:]),
}


def _back(step: Step, x: Any, gradient: Any, training: bool) -> tuple[Any, Arrays]:
    """Return the gradients of the input and of the weights; numerically, but for dense layers."""
    if step.settings.get("detached"):
        return np.zeros_like(x), {}
    if step.kind == "dense":
        weights = {"kernel": x.T @ gradient}
        if "bias" in step.weights:
            weights["bias"] = gradient.sum(0)
        return gradient @ step.weights["kernel"].T, weights
    if step.kind == "activation" and step.settings["function"] == "relu":
        slope = np.where(x == 0, step.settings.get("slope_at_zero", 0.0), x > 0)
        return gradient * slope, {}
    result = np.empty_like(x)
    for index in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += 1e-6
        moved[1][index] -= 1e-6
        more, less = (_apply(step, each, training) for each in moved)
        result[index] = ((more - less) * gradient).sum() / 2e-6
    return result, {}


@dataclass
class FakeSide:
    """A side whose model is a chain of steps.

    Attributes
    ----------
    name : str
        ``A`` or ``B``.
    framework : str
        What its description tells.
    steps : list of Step
        The chain; a tuple of two chains in place of a step is two branches, whose results are
        concatenated.
    given : tuple of str
        The keys that the user gave.
    preprocess : callable
        From the batch's ``x`` to the model's input.
    loss_function : callable or None
        From output and targets to the loss and its gradient.
    observed : int
        How often it was run.
    head : Step or None
        What the output goes through after the loss has been computed.
    loader : callable or None
        From the batch and the dtype to the batches of an epoch.
    """

    is_recorded: ClassVar[bool] = False
    name: str
    framework: str
    steps: Sequence[Any]
    given: tuple[str, ...] = ("model",)
    preprocess: Callable[[Any], Any] = lambda x: x
    loss_function: Callable[[Any, Any], tuple[Any, Any]] | None = None
    precision: str = ""
    observed: int = 0
    head: Step | None = None
    loader: Callable[[Arrays, str], list[Arrays]] | None = None

    def __post_init__(self) -> None:
        self._changes: list[Change] = []

    def _flat(self) -> list[Step]:
        flat: list[Step] = []
        for step in self.steps:
            branches = step if isinstance(step, tuple) else ([step],)
            for branch in branches:
                flat += branch
        return flat

    def description(self, dtype: str = "native") -> Description:
        layers = tuple(
            Layer(step.path, step.name or step.kind, step.kind, step.settings, {}, (*step.weights,))
            for step in self._flat()
            if step.path
        )
        loss = Component("loss") if self.loss_function else None
        number = "float64" if dtype == "float64" else "float32"
        return Description(self.framework, "1", "Fake", number, layers, loss=loss, given=self.given)

    def inputs(self, batch: Arrays, dtype: str = "native") -> Arrays:
        return {"input": np.asarray(self.preprocess(batch["x"]), np.float64)}

    def weights(self, dtype: str = "native") -> Arrays:
        return {
            f"{step.path}/{role}": array
            for step in self._flat()
            for role, array in step.weights.items()
        }

    def load(self, weights: Arrays, dtype: str = "native") -> None:
        def loaded(step: Step) -> Step:
            given = array_names(weights, step.path)
            changed = {role: given[role] for role in step.weights if role in given}
            return replace(step, weights=step.weights | changed)

        self.steps = [
            tuple([loaded(each) for each in branch] for branch in step)
            if isinstance(step, tuple)
            else loaded(step)
            for step in self.steps
        ]

    def change(self, changes: Sequence[Change], dtype: str = "native") -> None:
        layers = {step.path: step for step in self._flat() if step.path}
        for change in changes:
            step = layers.get(change.path)
            if change.target == "layer" and (step is None or not step.changeable):
                raise Unsupported(f"{change.path} has no {change.setting}")
            self._changes.append(change)

    def changeable(self) -> "FakeSide":
        return self

    def recording(self) -> None:
        return None

    def restore(self, dtype: str = "native") -> None:
        self._changes.clear()

    def _changed(self, step: Step, number: int) -> Step:
        for change in self._changes:
            path = step.path if change.target == "layer" else str(number)
            if change.path == path and (step.path or change.target == "function"):
                step = replace(step, settings=step.settings | {change.setting: change.value})
        return step

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
        dtype: str = "native",
    ) -> Observation:
        self.observed += 1
        run = _Run(self, training, forced or {})
        x = inputs["input"]
        for step in self.steps:
            if isinstance(step, tuple):
                x = np.concatenate([run.chain(branch, x) for branch in step], -1)
            else:
                x = run.chain([step], x)
        run.arrays["output"] = x
        if targets is not None and self.loss_function:
            loss, gradient = self.loss_function(x, targets["y"])
            run.arrays |= {"loss": np.asarray(loss), "output_gradient": gradient}
            run.backward(gradient)
        if self.head is not None:
            run.arrays["output"] = run.chain([self.head], x)
        return Observation(tuple(run.calls), run.arrays)

    def loss(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> Arrays:
        assert self.loss_function
        loss, gradient = self.loss_function(outputs["output"], targets["y"])
        return {"loss": np.asarray(loss), "output_gradient": gradient}

    def batches(self, batch: Arrays, dtype: str = "native") -> list[Arrays]:
        if self.loader is None:
            raise Unsupported("no batches")
        return self.loader(batch, dtype)


@dataclass
class _Run:
    """One pass: what was called, with what it took, for the way back."""

    side: FakeSide
    training: bool
    forced: Arrays
    calls: list[Call] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)
    taken: list[tuple[Step, int, Any]] = field(default_factory=list)

    def backward(self, gradient: Any) -> None:
        """Go back through a chain without branches, forced as the pass was."""
        for step, number, x in reversed(self.taken):
            anchor = bool(step.weights)
            if anchor:
                self.arrays[f"{number}/output_gradient"] = gradient
                gradient = self.forced.get(f"{number}/output_gradient", gradient)
            gradient, weights = _back(step, x, gradient, self.training)
            for role, array in weights.items():
                self.arrays[f"gradient/{step.path}/{role}"] = array
            if anchor:
                self.arrays[f"{number}/input_gradient"] = gradient
                gradient = self.forced.get(f"{number}/input_gradient", gradient)

    def chain(self, steps: Sequence[Step], x: Any) -> Any:
        for step in steps:
            x = self._step(step, x)
        return x

    def _step(self, step: Step, x: Any) -> Any:
        if not step.seen:
            return _apply(step, x, self.training)
        number = len(self.calls)
        step = self.side._changed(step, number)
        anchor = bool(step.weights)
        settings = dict(step.settings)
        if step.kind == "flatten":
            settings["from"] = [*x.shape]
        name = step.name or step.kind
        self.calls.append(Call(number, step.path, name, step.kind, settings, anchor))
        self.arrays[f"{number}/input"] = x
        x = self.forced.get(f"{number}/input", x)
        self.taken.append((step, number, x))
        x = _apply(step, x, self.training)
        self.arrays[f"{number}/output"] = x
        return self.forced.get(f"{number}/output", x)


def examined(a: FakeSide, b: FakeSide, batch: Arrays, stages: Sequence[str] = ()) -> Examination:
    """Return a comparison that is ready for the stages after the weights.

    Parameters
    ----------
    a, b : FakeSide
        Both sides.
    batch : dict of str to ndarray
        The shared batch.
    stages : sequence of str
        What is examined, in this order.
    """
    examination = Examination(a, b, batch, "float64", a.description(), b.description())
    examination.a_inputs = a.inputs(batch)
    examination.b_inputs = b.inputs(batch)
    if "y" in batch:
        examination.targets = {"y": batch["y"]}
    examination.a_weights = a.weights()
    examination.b_weights = b.weights()
    examination.a_evaluation = a.observe(examination.a_inputs, training=False)
    examination.b_built = b.observe(examination.b_inputs, training=False)
    examination.alignment = aligned(examination)
    targets = targets_of(examination)
    examination.a_training = a.observe(examination.a_inputs, training=True, targets=targets)
    examination.b_evaluation = run(examination)
    examination.b_training = run(examination, training=True)
    for stage in stages:
        module = import_module(f"triptych.doctor.stages.{stage}")
        examination.results[stage] = module.examine(examination)
    return examination
