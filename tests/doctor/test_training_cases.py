"""Pairs of ports whose training differs in one known way, through all stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.optim import lr_scheduler  # noqa: E402

from triptych.doctor.diagnosis import diagnose  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402

pytestmark = [
    pytest.mark.framework,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # Keras' own callbacks
    pytest.mark.filterwarnings("ignore:Using a target size"),  # the mistake that is planted
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides"),
    pytest.mark.filterwarnings("ignore:.*received `from_logits=True`"),
]

RNG = np.random.default_rng(0)
ROWS = 40
X = RNG.normal(size=(ROWS, 6)).astype(np.float32)
LABELS = RNG.integers(0, 4, ROWS)
BITS = RNG.integers(0, 2, (ROWS, 1)).astype(np.float32)
NUMBERS = (3 * RNG.normal(size=(ROWS, 1))).astype(np.float32)
COUNTS = RNG.poisson(2.0, (ROWS, 1)).astype(np.float32)
WORDS = RNG.integers(0, 9, (ROWS, 5))
FLAT = np.array([1.0, 0.5, *[0.4] * 12])
SLOW = 0.01 * 0.998 ** np.arange(14)

Made = dict[str, Any]
Build = Callable[..., Made]


def torch_side(
    outputs: int = 4,
    optimizer: Callable[..., Any] | None = None,
    head: nn.Module | None = None,
    loss: Any = None,
    schedule: Callable[[Any], Any] | None = None,
    **parts: Any,
) -> Callable[[], Made]:
    """Return what builds a small network in PyTorch."""

    def build() -> Made:
        layers = [nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, outputs)]
        model = nn.Sequential(*layers, *([head] if head else []))
        made = (optimizer or (lambda p: torch.optim.SGD(p, lr=0.1)))(model.parameters())
        if isinstance(made, tuple):
            made, hook = made

            def clip(*given: Any) -> None:
                hook(model)

            made.register_step_pre_hook(clip)
        result = {"model": model, "optimizer": made, "loss": loss or nn.CrossEntropyLoss()}
        if schedule:
            result["schedule"] = schedule(made)
        return result | parts

    return build


def keras_side(
    outputs: int = 4,
    optimizer: Callable[[], Any] | None = None,
    activation: str | None = None,
    loss: Any = None,
    regularizer: float | None = None,
    schedule: Any = None,
    **parts: Any,
) -> Callable[[], Made]:
    """Return what builds the same network in Keras."""

    def build() -> Made:
        extra = {}
        if regularizer:
            penalty = keras.regularizers.L2(regularizer)
            extra = {"kernel_regularizer": penalty, "bias_regularizer": penalty}
        inputs = keras.Input((6,))
        x = keras.layers.Dense(16, activation="tanh", **extra)(inputs)
        x = keras.layers.Dense(outputs, activation=activation, **extra)(x)
        model = keras.Model(inputs, x)
        usual = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if schedule is not None:
            made = (optimizer or keras.optimizers.SGD)(schedule)
        else:
            made = (optimizer or (lambda: keras.optimizers.SGD(0.1)))()
        result = {"model": model, "optimizer": made, "loss": loss or usual}
        if schedule is not None:
            result["schedule"] = schedule
        return result | parts

    return build


def diagnosed(a: Callable[[], Made], b: Callable[[], Made], batch: dict[str, Any]) -> Any:
    sides = [local_side(name, Parts(Path(__file__), build)) for name, build in (("A", a), ("B", b))]
    return diagnose(sides[0], sides[1], {"x": X, "y": LABELS} | batch)


def optim(name: str, **settings: Any) -> Callable[..., Any]:
    return lambda parameters: getattr(torch.optim, name)(parameters, **settings)


def kopt(name: str, *args: Any, **settings: Any) -> Callable[[], Any]:
    return lambda: getattr(keras.optimizers, name)(*args, **settings)


def clipping(rule: Callable[[Any], Any], **settings: Any) -> Callable[..., Any]:
    return lambda parameters: (
        torch.optim.SGD(parameters, **settings),
        lambda model: rule(model.parameters()),
    )


def grouped(decay: float) -> Callable[..., Any]:
    """Return an AdamW that decays kernels only."""

    def make(parameters: Any) -> Any:
        every = list(parameters)
        groups = [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in every if p.ndim == 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=1e-2, eps=1e-12)

    return make


def excluding(decay: float) -> Callable[[], Any]:
    def make() -> Any:
        optimizer = keras.optimizers.AdamW(1e-2, weight_decay=decay, epsilon=1e-12)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    return make


Schedules = keras.optimizers.schedules
PLAIN = {"a": torch_side(), "b": keras_side()}
VALUES = {"y": NUMBERS[:, 0]}


class MeanSquares(nn.Module):
    def forward(self, output: Any, target: Any) -> Any:
        return ((output.squeeze(-1) - target) ** 2).mean()


def of_values(name: str = "mse", **parts: Any) -> Callable[[], Made]:
    return keras_side(1, loss=name, **parts)


# Pairs that are correct, or differ without effect.
EQUAL: dict[str, tuple[Callable[[], Made], Callable[[], Made], Made]] = {
    "plain": (torch_side(), keras_side(), {}),
    "momentum": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9, nesterov=True)),
        keras_side(optimizer=kopt("SGD", 0.1, momentum=0.9, nesterov=True)), {}),
    "adamw": (
        torch_side(optimizer=optim("AdamW", lr=1e-2, eps=1e-12, weight_decay=0.02)),
        keras_side(optimizer=kopt("AdamW", 1e-2, epsilon=1e-12, weight_decay=0.02)), {}),
    "adamw without biases": (
        torch_side(optimizer=grouped(0.1)), keras_side(optimizer=excluding(0.1)), {}),
    "adagrad": (
        torch_side(optimizer=optim("Adagrad", lr=0.1, eps=1e-7, initial_accumulator_value=0.1)),
        keras_side(optimizer=kopt("Adagrad", 0.1)), {}),
    "adadelta": (
        torch_side(optimizer=optim("Adadelta", lr=1.0, rho=0.95, eps=1e-7)),
        keras_side(optimizer=kopt("Adadelta", 1.0)), {}),
    "nadam": (
        torch_side(optimizer=optim("NAdam", lr=1e-2, eps=1e-7, momentum_decay=1.0)),
        keras_side(optimizer=kopt("Nadam", 1e-2)), {}),
    "global clip": (
        torch_side(optimizer=clipping(lambda p: nn.utils.clip_grad_norm_(p, 0.1), lr=0.1)),
        keras_side(optimizer=kopt("SGD", 0.1, global_clipnorm=0.1)), {}),
    "clip by value": (
        torch_side(optimizer=clipping(lambda p: nn.utils.clip_grad_value_(p, 0.01), lr=0.1)),
        keras_side(optimizer=kopt("SGD", 0.1, clipvalue=0.01)), {}),
    "decay as a penalty": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9, weight_decay=0.02)),
        keras_side(optimizer=kopt("SGD", 0.1, momentum=0.9), regularizer=0.01), {}),
    "plain decay": (
        torch_side(optimizer=optim("SGD", lr=0.1, weight_decay=0.02)),
        keras_side(optimizer=kopt("SGD", 0.1, weight_decay=0.02)), {}),
    "softmax": (
        torch_side(), keras_side(activation="softmax", loss="sparse_categorical_crossentropy"), {}),
    # Keras takes the logits of a softmax that it can see.
    "softmax and logits": (torch_side(), keras_side(activation="softmax"), {}),
    "log-softmax": (
        torch_side(head=nn.LogSoftmax(1), loss=nn.NLLLoss()), keras_side(), {}),
    "sigmoid": (
        torch_side(1, loss=nn.BCEWithLogitsLoss()),
        keras_side(1, activation="sigmoid", loss="binary_crossentropy"), {"y": BITS}),
    "smoothing": (
        torch_side(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        keras_side(loss=keras.losses.CategoricalCrossentropy(from_logits=True,
                                                             label_smoothing=0.1)),
        {"y": np.eye(4, dtype=np.float32)[LABELS]}),
    "flat targets": (torch_side(1, loss=MeanSquares()), of_values(), VALUES),
    "cosine schedule": (
        torch_side(schedule=lambda o: lr_scheduler.CosineAnnealingLR(o, 50),
                   schedule_unit="batch"),
        keras_side(schedule=Schedules.CosineDecay(0.1, 50)), {}),
    "steps": (
        torch_side(schedule=lambda o: lr_scheduler.StepLR(o, 2, 0.5), steps_per_epoch=5),
        keras_side(schedule=Schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True),
                   steps_per_epoch=5), {}),
    "plateau": (
        torch_side(schedule=lambda o: lr_scheduler.ReduceLROnPlateau(
            o, patience=2, threshold_mode="abs")),
        keras_side(callbacks=[keras.callbacks.ReduceLROnPlateau(patience=3)]),
        {"val_loss": FLAT}),
    "accuracy": (
        torch_side(metric=lambda o, y: (o.argmax(1) == y).double().mean()),
        keras_side(metric=keras.metrics.SparseCategoricalAccuracy()), {}),
}  # fmt: skip

# A's build, B's build, further arrays, and the stages and causes of the findings.
Case = tuple[Callable[[], Made], Callable[[], Made], Made, list[tuple[str, str | None]]]
FAULTS: dict[str, Case] = {
    "rate of SGD": (
        torch_side(optimizer=optim("SGD")), keras_side(optimizer=kopt("SGD")), {},
        [("update", "D53")]),
    "rate of Adam": (
        torch_side(optimizer=optim("Adam", lr=1e-2, eps=1e-12)),
        keras_side(optimizer=kopt("Adam", epsilon=1e-12)), {}, [("update", None)]),
    "momentum": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9)),
        keras_side(optimizer=kopt("SGD", 0.1, momentum=0.8)), {}, [("update", None)]),
    "no momentum": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9)),
        keras_side(optimizer=kopt("SGD", 0.1)), {}, [("update", None)]),
    "Nesterov": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9, nesterov=True)),
        keras_side(optimizer=kopt("SGD", 0.1, momentum=0.9)), {}, [("update", None)]),
    "dampening": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9, dampening=0.5)),
        keras_side(optimizer=kopt("SGD", 0.1, momentum=0.9)), {}, [("update", "D55")]),
    "Adam's epsilon": (
        torch_side(optimizer=optim("Adam", lr=1e-3)),
        keras_side(optimizer=kopt("Adam", 1e-3)), {}, [("update", "D47"), ("update", "D46")]),
    "Adam against RMSprop": (
        torch_side(optimizer=optim("Adam", lr=1e-3)),
        keras_side(optimizer=kopt("RMSprop", 1e-3)), {}, [("update", None)]),
    "AMSGrad": (
        torch_side(optimizer=optim("Adam", lr=1e-3, eps=1e-12, betas=(0.9, 0.9), amsgrad=True)),
        keras_side(optimizer=kopt("Adam", 1e-3, epsilon=1e-12, beta_2=0.9)), {},
        [("update", None)]),
    "Adagrad": (
        torch_side(optimizer=optim("Adagrad", lr=0.1)),
        keras_side(optimizer=kopt("Adagrad", 0.1)), {}, [("update", "D49")]),
    "Adadelta": (
        torch_side(optimizer=optim("Adadelta")),
        keras_side(optimizer=kopt("Adadelta")), {}, [("update", "D50")]),
    "Adamax": (
        torch_side(optimizer=optim("Adamax")),
        keras_side(optimizer=kopt("Adamax")), {}, [("update", "D51")]),
    "Nadam": (
        torch_side(optimizer=optim("NAdam", lr=1e-3, eps=1e-7)),
        keras_side(optimizer=kopt("Nadam")), {}, [("update", "D52")]),
    "RMSprop with momentum": (
        torch_side(optimizer=optim("RMSprop", lr=1e-3, alpha=0.9, momentum=0.9)),
        keras_side(optimizer=kopt("RMSprop", momentum=0.9)), {}, [("update", "D48")]),
    "coupled decay": (
        torch_side(optimizer=optim("Adam", lr=1e-2, eps=1e-12, weight_decay=0.05)),
        keras_side(optimizer=kopt("Adam", 1e-2, epsilon=1e-12, weight_decay=0.05)), {},
        [("update", "D56")]),
    "L2 twice as large": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9, weight_decay=0.02)),
        keras_side(optimizer=kopt("SGD", 0.1, momentum=0.9), regularizer=0.02), {},
        [("update", "D58")]),
    "decay of biases": (
        torch_side(optimizer=optim("AdamW", lr=1e-2, eps=1e-12, weight_decay=0.1)),
        keras_side(optimizer=excluding(0.1)), {}, [("update", None)]),
    "clipping on one side": (
        torch_side(optimizer=clipping(lambda p: nn.utils.clip_grad_norm_(p, 0.05), lr=0.1)),
        keras_side(), {}, [("update", None)]),
    "clip per variable": (
        torch_side(optimizer=clipping(lambda p: nn.utils.clip_grad_norm_(p, 0.05), lr=0.1)),
        keras_side(optimizer=kopt("SGD", 0.1, clipnorm=0.05)), {}, [("update", "D59")]),
    "weights that are not in the optimizer": (
        torch_side(optimizer=lambda p: torch.optim.SGD(list(p)[-2:], lr=0.1)), keras_side(), {},
        [("update", None)]),
    "accumulation": (
        torch_side(), keras_side(optimizer=kopt("SGD", 0.1, gradient_accumulation_steps=3)), {},
        [("update", "D61")]),
    "momentum and schedule": (
        torch_side(optimizer=optim("SGD", lr=0.1, momentum=0.9), schedule_unit="batch",
                   schedule=lambda o: lr_scheduler.MultiStepLR(o, [30], 0.1)),
        keras_side(optimizer=lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
                   schedule=Schedules.PiecewiseConstantDecay([29], [0.1, 0.01])), {},
        [("update", "D54")]),
    "softmax missing": (
        torch_side(), keras_side(loss="sparse_categorical_crossentropy"), {}, [("loss", "D37")]),
    "softmax twice": (
        torch_side(head=nn.Softmax(1)),
        keras_side(activation="softmax", loss="sparse_categorical_crossentropy"), {},
        [("loss", "D38")]),
    "sigmoid twice": (
        torch_side(1, head=nn.Sigmoid(), loss=nn.BCEWithLogitsLoss()),
        keras_side(1, activation="sigmoid", loss="binary_crossentropy"), {"y": BITS},
        [("loss", "D38")]),
    "negative log-likelihood of logits": (
        torch_side(loss=nn.NLLLoss()), keras_side(), {}, [("loss", "D37")]),
    "broadcast": (torch_side(1, loss=nn.MSELoss()), of_values(), VALUES, [("loss", "D44")]),
    "broadcast of absolute errors": (
        torch_side(1, loss=nn.L1Loss()), of_values("mae"), VALUES, [("loss", "D44")]),
    "sum": (
        torch_side(loss=nn.CrossEntropyLoss(reduction="sum")), keras_side(), {},
        [("loss", None)]),
    "half": (
        torch_side(1, loss=lambda o, y: 0.5 * F.mse_loss(o, y)), of_values(), {"y": NUMBERS},
        [("loss", None)]),
    "absolute for squared": (
        torch_side(1, loss=nn.L1Loss()), of_values(), {"y": NUMBERS}, [("loss", None)]),
    "Huber's delta": (
        torch_side(1, loss=nn.HuberLoss(delta=2.0)), of_values("huber"), {"y": NUMBERS},
        [("loss", None)]),
    "smooth L1": (
        torch_side(1, loss=nn.SmoothL1Loss(beta=0.5)),
        keras_side(1, loss=keras.losses.Huber(0.5)), {"y": NUMBERS}, [("loss", "D45")]),
    "Poisson": (
        torch_side(1, head=nn.Softplus(), loss=nn.PoissonNLLLoss()),
        keras_side(1, activation="softplus", loss="poisson"), {"y": COUNTS}, [("loss", "D45")]),
    "smoothing on one side": (
        torch_side(loss=nn.CrossEntropyLoss(label_smoothing=0.1)), keras_side(), {},
        [("loss", "D41")]),
    "ignored label": (
        torch_side(loss=nn.CrossEntropyLoss(ignore_index=0)), keras_side(), {},
        [("loss", "D42")]),
    "cosine after its end": (
        torch_side(schedule=lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
                   schedule_unit="batch"),
        keras_side(schedule=Schedules.CosineDecay(0.1, 10)), {"val_loss": FLAT},
        [("schedule", "D68")]),
    "cosine's floor": (
        torch_side(schedule=lambda o: lr_scheduler.CosineAnnealingLR(o, 2000, eta_min=0.01),
                   schedule_unit="batch"),
        keras_side(schedule=Schedules.CosineDecay(0.1, 2000, alpha=0.01)), {},
        [("schedule", "D68")]),
    "unit": (
        torch_side(schedule=lambda o: lr_scheduler.StepLR(o, 2, 0.5), steps_per_epoch=5),
        keras_side(schedule=Schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True),
                   steps_per_epoch=5), {}, [("schedule", "D67")]),
    "staircase": (
        torch_side(schedule=lambda o: lr_scheduler.StepLR(o, 10, 0.5), schedule_unit="batch"),
        keras_side(schedule=Schedules.ExponentialDecay(0.1, 10, 0.5)), {},
        [("schedule", "D69")]),
    "boundary": (
        torch_side(schedule=lambda o: lr_scheduler.MultiStepLR(o, [5, 9], 0.1),
                   schedule_unit="batch"),
        keras_side(schedule=Schedules.PiecewiseConstantDecay([5, 9], [0.1, 0.01, 0.001])), {},
        [("schedule", "D97")]),
    "patience": (
        torch_side(schedule=lambda o: lr_scheduler.ReduceLROnPlateau(
            o, patience=3, threshold_mode="abs")),
        keras_side(callbacks=[keras.callbacks.ReduceLROnPlateau(patience=3)]),
        {"val_loss": FLAT}, [("callback", "D64")]),
    "threshold": (
        torch_side(schedule=lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2)),
        keras_side(callbacks=[keras.callbacks.ReduceLROnPlateau(patience=3)]),
        {"val_loss": SLOW}, [("callback", "D65")]),
    "metric": (
        torch_side(1, loss=nn.BCEWithLogitsLoss(),
                   metric=lambda o, y: ((o > 0) == (y > 0.5)).double().mean()),
        keras_side(1, loss=keras.losses.BinaryCrossentropy(from_logits=True),
                   metric=keras.metrics.BinaryAccuracy()), {"y": BITS}, [("metric", "D84")]),
    "top-k metric": (
        torch_side(metric=lambda o, y: (o.argmax(1) == y).double().mean()),
        keras_side(metric=keras.metrics.SparseTopKCategoricalAccuracy(2)), {},
        [("metric", None)]),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUAL)
def test_a_correct_pair_is_acquitted(name: str) -> None:
    a, b, batch = EQUAL[name]
    diagnosis = diagnosed(a, b, batch)
    assert not diagnosis.findings
    assert diagnosis.verdict in ("equal", "rounding")


@pytest.mark.parametrize("name", FAULTS)
def test_a_difference_is_named(name: str) -> None:
    a, b, batch, expected = FAULTS[name]
    diagnosis = diagnosed(a, b, batch)
    assert [(finding.stage, finding.cause) for finding in diagnosis.findings] == expected
    assert all(finding.proved for finding in diagnosis.findings)
