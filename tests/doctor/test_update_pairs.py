"""Pairs whose updates differ by averages, by norms of missing weights, or by joined arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from keras import layers  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim import swa_utils  # noqa: E402

from triptych.doctor.diagnosis import diagnose  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402
from triptych.doctor.trace import read_trace, record, write_trace  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.slow]

RNG = np.random.default_rng(7)
X = RNG.normal(size=(24, 6)).astype(np.float32)
SEQUENCES = RNG.normal(size=(8, 5, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 24)

Made = dict[str, Any]
Build = Callable[[], Made]


def diagnosed(a: Build, b: Build, **batch: Any) -> Any:
    sides = [local_side(name, Parts(Path(__file__), build)) for name, build in (("A", a), ("B", b))]
    return diagnose(sides[0], sides[1], batch or {"x": X, "y": LABELS})


def found(diagnosis: Any) -> list[tuple[str, str | None, str]]:
    return [(each.stage, each.cause, each.title) for each in diagnosis.findings]


Hook = Callable[[Any], Callable[..., None]]


def of_torch(*, before: Hook | None = None, after: Hook | None = None, bias: bool = True) -> Build:
    """Return what builds a network with hooks of its optimizer."""

    def build() -> Made:
        model = nn.Sequential(nn.Linear(6, 16, bias=bias), nn.Tanh(), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        if before:
            optimizer.register_step_pre_hook(before(model))
        if after:
            optimizer.register_step_post_hook(after(model))
        return {"model": model, "loss": nn.CrossEntropyLoss(), "optimizer": optimizer}

    return build


def of_keras(*, bias: bool = True, **settings: Any) -> Build:
    """Return what builds the same network."""

    def build() -> Made:
        inputs = keras.Input((6,))
        x = layers.Dense(16, activation="tanh", use_bias=bias)(inputs)
        model = keras.Model(inputs, layers.Dense(3)(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9, **settings)
        return {"model": model, "loss": loss, "optimizer": optimizer}

    return build


# Averages


def averaging(function: Any) -> Hook:
    def of(model: Any) -> Callable[..., None]:
        average = swa_utils.AveragedModel(model, multi_avg_fn=function)

        def update(*_: Any) -> None:
            average.update_parameters(model)

        return update

    return of


class ByHand:
    def __init__(self, model: Any, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.shadow: dict[str, Any] = {}

    @torch.no_grad()
    def update(self, *_: Any) -> None:
        for name, parameter in self.model.named_parameters():
            old = self.shadow.get(name, parameter.clone())
            self.shadow[name] = self.decay * old + (1 - self.decay) * parameter


def moving(decay: float) -> Hook:
    return averaging(swa_utils.get_ema_multi_avg_fn(decay))


def by_hand(decay: float) -> Hook:
    return lambda model: ByHand(model, decay).update


class AtTheEndOfAnEpoch:
    def __init__(self, model: Any, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.shadow = {name: each.clone() for name, each in model.state_dict().items()}

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        for name, each in self.model.state_dict().items():
            self.shadow[name] = self.decay * self.shadow[name] + (1 - self.decay) * each


class KeepsTheBest:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.best = {name: each.clone() for name, each in model.state_dict().items()}

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.best = {name: each.clone() for name, each in self.model.state_dict().items()}


def with_callback(make: Callable[[Any], Any]) -> Build:
    def build() -> Made:
        made = of_torch()()
        return made | {"callbacks": [make(made["model"])]}

    return build


MOVING = "a moving average of the weights, decay"
AVERAGES: list[tuple[Build, Build, str, str]] = [
    (of_torch(), of_keras(use_ema=True, ema_momentum=0.9), "no average", f"{MOVING} 0.9"),
    (
        of_torch(),
        of_keras(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
        "no average",
        "replaces the weights after each 3 updates",
    ),
    (of_keras(use_ema=True), of_torch(), f"{MOVING} 0.99", "no average"),
    (
        of_keras(use_ema=True, ema_overwrite_frequency=2),
        of_torch(),
        "after each 2 updates",
        "no average",
    ),
    (of_torch(after=moving(0.9)), of_keras(), f"{MOVING} 0.9", "no average"),
    (of_torch(after=by_hand(0.95)), of_keras(), f"{MOVING} 0.95", "no average"),
    (of_torch(after=moving(0.999)), of_keras(use_ema=True), f"{MOVING} 0.999", f"{MOVING} 0.99"),
    (of_torch(after=averaging(None)), of_keras(use_ema=True), "the mean", f"{MOVING} 0.99"),
]


@pytest.mark.parametrize(("a", "b", "a_words", "b_words"), AVERAGES)
def test_an_average_that_one_side_evaluates(a: Build, b: Build, a_words: str, b_words: str) -> None:
    diagnosis = diagnosed(a, b)
    (finding,) = diagnosis.findings
    assert (finding.stage, finding.cause, finding.proved) == ("update", "D128", True)
    assert a_words in finding.values["a"]
    assert b_words in finding.values["b"]
    assert finding.effect["evaluation"] > 1e-3


def test_an_average_of_keras_is_switched_off() -> None:
    settings: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3}
    (finding,) = diagnosed(of_torch(), of_keras(**settings)).findings
    words = finding.evidence.partition("without use_ema in B, A's and B's weights differ by ")
    assert float(words[2]) < 1e-6


def test_a_callback_that_averages_at_the_ends_of_epochs() -> None:
    a = with_callback(lambda model: AtTheEndOfAnEpoch(model, 0.8))
    (finding,) = diagnosed(a, of_keras()).findings
    assert (finding.stage, finding.cause) == ("update", "D128")
    assert finding.values["a"].endswith("decay 0.8, after each epoch")
    # Not the same as one that averages after each update.
    (finding,) = diagnosed(a, of_keras(use_ema=True, ema_momentum=0.8)).findings
    assert finding.values["b"].endswith("decay 0.8, after each update")


def test_a_trace_tells_when_its_side_averages(tmp_path: Path) -> None:
    a = with_callback(lambda model: AtTheEndOfAnEpoch(model, 0.8))
    batch = {"x": X, "y": LABELS}
    folder = tmp_path / "a.trace"
    write_trace(folder, record(local_side("A", Parts(Path(__file__), a)), batch), batch)

    def compared(b: Build) -> Any:
        return diagnose(read_trace(folder), local_side("B", Parts(Path(__file__), b)), batch)

    assert not compared(a).findings
    (finding,) = compared(of_torch()).findings
    assert finding.values["a"].endswith("decay 0.8, after each epoch")


class AveragesEpochs:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.average = swa_utils.AveragedModel(model)

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.average.update_parameters(self.model)


class AveragesUpdates:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.average = swa_utils.AveragedModel(model)

    def on_train_batch_end(self, batch: int, logs: Any) -> None:
        self.average.update_parameters(self.model)


@pytest.mark.parametrize(
    ("callback", "unit"), [(AveragesEpochs, "epoch"), (AveragesUpdates, "update")]
)
def test_a_model_of_means_is_updated_by_its_callback_alone(callback: Any, unit: str) -> None:
    (finding,) = diagnosed(with_callback(callback), of_keras()).findings
    assert finding.cause == "D128"
    assert finding.values["a"] == f"evaluates the mean of the weights, after each {unit}"


class NeedsTheAccuracy:
    def __init__(self, model: Any) -> None:
        pass

    def on_train_batch_end(self, batch: int, logs: Any) -> None:
        assert logs["accuracy"] >= 0.0


def test_a_callback_that_needs_more_than_the_loss_is_left_out() -> None:
    diagnosis = diagnosed(with_callback(NeedsTheAccuracy), of_keras())
    assert not diagnosis.findings
    assert diagnosis.verdict in ("equal", "rounding")


def test_a_callback_that_keeps_the_best_weights_does_not_average() -> None:
    assert not diagnosed(with_callback(KeepsTheBest), of_keras()).findings


@pytest.mark.parametrize("hook", [moving(0.99), by_hand(0.99)])
def test_equal_averages_are_no_difference(hook: Hook) -> None:
    diagnosis = diagnosed(of_torch(after=hook), of_keras(use_ema=True))
    assert not diagnosis.findings
    assert diagnosis.verdict in ("equal", "rounding")


# The norm of all gradients, where one side lacks a weight


def clip(limit: float) -> Hook:
    def of(model: Any) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            nn.utils.clip_grad_norm_(model.parameters(), limit)

        return hook

    return of


BIAS = ("forward", None, "0 in PyTorch has a bias, dense in Keras has none")


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"global_clipnorm": 0.1}, []),
        ({"global_clipnorm": 0.5}, [("update", None, "Limit of the gradient clipping")]),
        (
            {"clipnorm": 0.1},
            [("update", "D59", "Clipping by the norm of each variable, or of all")],
        ),
        ({}, [("update", None, "Gradients are clipped on one side only")]),
    ],
)
def test_a_missing_bias_is_no_fault_of_the_clipping(settings: Made, more: list[Any]) -> None:
    diagnosis = diagnosed(of_torch(before=clip(0.1)), of_keras(bias=False, **settings))
    assert found(diagnosis) == [BIAS, *more]
    assert all(each.proved for each in diagnosis.findings)


def test_a_bias_that_b_alone_has_is_no_fault_of_the_clipping() -> None:
    a, b = of_torch(before=clip(0.1), bias=False), of_keras(global_clipnorm=0.1)
    ((stage, _, title),) = found(diagnosed(a, b))
    assert (stage, title) == ("forward", "dense in Keras has a bias, 0 in PyTorch has none")


# Weights that one framework has in one array


def gru_of_keras(optimizer: Callable[[], Any]) -> Build:
    def build() -> Made:
        inputs = keras.Input((5, 4))
        x = layers.GRU(6)(inputs)
        model = keras.Model(inputs, layers.Dense(3)(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return {"model": model, "loss": loss, "optimizer": optimizer()}

    return build


class TorchGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.gru(x)[0][:, -1])


class Lamb(torch.optim.Optimizer):
    """LAMB as a user writes it."""

    def __init__(self, parameters: Any, lr: float = 0.01) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-7})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(number=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
                state["number"] += 1
                state["mean"].mul_(first).add_(p.grad, alpha=1 - first)
                state["square"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
                root = (state["square"] / (1 - second ** state["number"])).sqrt()
                step = state["mean"] / (1 - first ** state["number"]) / (root + group["eps"])
                lengths = p.norm(), step.norm()
                ratio = lengths[0] / lengths[1] if all(lengths) else 1.0
                p.sub_(group["lr"] * ratio * step)


def gru_of_torch(optimizer: Callable[[Any], Any]) -> Build:
    def build() -> Made:
        model = TorchGRU()
        made = optimizer(model.parameters())
        return {"model": model, "loss": nn.CrossEntropyLoss(), "optimizer": made}

    return build


ARRAYS = "Which weights are one array for the optimizer"
ADAFACTOR = "Adafactor: rate, and how it is scaled"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (
            gru_of_keras(lambda: keras.optimizers.Lamb(0.01)),
            gru_of_keras(lambda: keras.optimizers.Lamb(0.02)),
            [("update", None, "Learning rate")],
        ),
        (
            gru_of_keras(lambda: keras.optimizers.Adafactor(0.01)),
            gru_of_keras(lambda: keras.optimizers.Adafactor(0.02)),
            [("update", "D118", ADAFACTOR)],
        ),
        (
            gru_of_torch(Lamb),
            gru_of_keras(lambda: keras.optimizers.Lamb(0.01)),
            [("update", None, ARRAYS)],
        ),
        (
            gru_of_torch(lambda parameters: torch.optim.Adafactor(parameters, lr=0.01)),
            gru_of_keras(lambda: keras.optimizers.Adafactor(0.01)),
            [("update", None, ARRAYS)],
        ),
    ],
)
def test_the_biases_of_a_gru_are_one_array_in_keras(a: Build, b: Build, expected: Any) -> None:
    diagnosis = diagnosed(a, b, x=SEQUENCES, y=LABELS[:8])
    assert found(diagnosis) == expected
    assert all(each.proved for each in diagnosis.findings)
