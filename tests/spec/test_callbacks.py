"""Early stopping and cuts at a plateau, event for event against Keras's and PyTorch's own."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.errors import SpecError
from triptych.spec.callbacks import (
    CALLBACKS,
    CallbackMemory,
    EarlyStopping,
    ImprovementTracker,
    ReduceLROnPlateau,
)
from triptych.spec.recipe import Recipe

SERIES = 1000
MONITORS = ("validation_loss", "validation_accuracy")
# Keras compares in float32. On this grid, thresholds included, float32 and float64 see the same
# order and the same ties.
GRID = 64


def series(rng: np.random.Generator) -> list[float]:
    """A metric over the epochs: it wanders, stays, ties, and now and then is NaN or infinite."""
    steps = rng.choice([-3, -1, -1, 0, 0, 0, 1, 2], size=int(rng.integers(3, 40)))
    values = ((rng.integers(GRID, 4 * GRID) + np.cumsum(steps)).clip(1) / GRID).tolist()
    odd = rng.choice([0.0, 0.05, 0.3])
    return [
        float(rng.choice([math.nan, math.inf, -math.inf], p=[0.8, 0.1, 0.1]))
        if rng.random() < odd
        else v
        for v in values
    ]


def ours(
    callback: ImprovementTracker, values: list[float], rate: float = 1.0
) -> tuple[list[tuple[Any, ...]], CallbackMemory]:
    """What our callback asks for, its memory through JSON after each epoch; and what it
    remembers.
    """
    memory, events = CallbackMemory(), list[tuple[Any, ...]]()
    for epoch, value in enumerate(values, 1):
        seen = {"epoch": epoch, "base_rate": rate, callback.monitor: value}
        for event in callback.on_epoch_end(seen, memory):
            if event["type"] == "stop":
                return [("stop", epoch)], memory
            rate = event["base_rate"]
            events.append(("cut", epoch, rate))
        memory = CallbackMemory.from_json(json.loads(json.dumps(memory.to_json(), allow_nan=False)))
    return events, memory


@pytest.mark.parametrize(
    "callback", [example for cls in CALLBACKS.values() for example in cls.examples()], ids=repr
)
def test_the_examples_of_every_callback_ask_for_what_the_loop_can_do(callback: ImprovementTracker):
    recipe = Recipe(validation=0.1, callbacks=(callback,))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    memory = CallbackMemory()
    for epoch in range(1, 40):
        seen = {"epoch": epoch, "base_rate": 0.1, callback.monitor: 1.0}
        for event in callback.on_epoch_end(seen, memory):
            assert event["type"] in ("stop", "cut")
            assert ("why" in event) if event["type"] == "stop" else ("base_rate" in event)


class Model:
    """As much of a Keras model as its callbacks touch."""

    def __init__(self) -> None:
        self.stop_training = False
        self.weights = 0  # the epoch
        self.optimizer = self
        self.learning_rate = 1.0

    def get_weights(self) -> int:
        return self.weights

    def set_weights(self, weights: int) -> None:
        self.weights = weights


def keras_callback(kind: str, monitor: str, **arguments: Any) -> tuple[Any, Model]:
    keras = pytest.importorskip("keras")
    callback, model = (
        getattr(keras.callbacks, kind)(
            monitor="m", mode="max" if "accuracy" in monitor else "min", **arguments
        ),
        Model(),
    )
    callback.set_model(model)
    callback.on_train_begin()
    return callback, model


def keras_cuts(monitor: str, values: list[float], **arguments: Any) -> list[tuple[Any, ...]]:
    callback, model = keras_callback("ReduceLROnPlateau", monitor, **arguments)
    events = list[tuple[Any, ...]]()
    for epoch, value in enumerate(values):
        before = model.learning_rate
        callback.on_epoch_end(epoch, {"m": value})
        if model.learning_rate != before:
            events.append(("cut", epoch + 1, model.learning_rate))
    return events


def torch_cuts(monitor: str, values: list[float], **arguments: Any) -> list[tuple[Any, ...]]:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    mode = "max" if "accuracy" in monitor else "min"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, **arguments)
    events = list[tuple[Any, ...]]()
    for epoch, value in enumerate(values, 1):
        before = optimizer.param_groups[0]["lr"]
        scheduler.step(value)
        if (rate := optimizer.param_groups[0]["lr"]) != before:
            events.append(("cut", epoch, rate))
    return events


def some(rng: np.random.Generator, **choices: list[Any]) -> dict[str, Any]:
    """Some of the arguments, each one of its choices; what is left out is at its default."""
    return {
        name: of[int(rng.integers(len(of)))] for name, of in choices.items() if rng.random() < 0.8
    }


@pytest.mark.slow
def test_cuts_as_keras_makes_them():
    rng, seen = np.random.default_rng(1), 0
    for _ in range(SERIES):
        monitor, values = MONITORS[int(rng.integers(2))], series(rng)
        given = some(
            rng,
            factor=[0.1, 0.5, 0.9],
            patience=[0, 1, 2, 3, 5],
            min_delta=[0.0, 1 / GRID, 3 / GRID],
            cooldown=[0, 1, 2, 4],
            min_lr=[0.0, 0.25],
        )
        theirs = keras_cuts(monitor, values, **given)
        assert (
            ours(ReduceLROnPlateau.like("keras", monitor=monitor, **given), values)[0] == theirs
        ), (monitor, values, given)
        seen += len(theirs)
    assert seen > SERIES  # there was something to compare


def test_cuts_as_pytorch_makes_them():
    rng, seen = np.random.default_rng(2), 0
    for _ in range(SERIES):
        monitor, values = MONITORS[int(rng.integers(2))], series(rng)
        given = some(
            rng,
            factor=[0.1, 0.5, 0.9, 0.999],
            patience=[0, 1, 2, 3, 5],
            threshold=[0.0, 1e-4, 1 / GRID, 0.3],
            threshold_mode=["rel", "abs"],
            cooldown=[0, 1, 2, 4],
            min_lr=[0.0, 0.25],
            eps=[0.0, 1e-8, 0.2],
        )
        theirs = torch_cuts(monitor, values, **given)
        assert (
            ours(ReduceLROnPlateau.like("torch", monitor=monitor, **given), values)[0] == theirs
        ), (monitor, values, given)
        seen += len(theirs)
    assert seen > SERIES


def test_stops_as_keras_does_and_at_the_best_epoch():
    rng, stops, ends = np.random.default_rng(3), 0, 0
    for _ in range(SERIES):
        monitor, values = MONITORS[int(rng.integers(2))], series(rng)
        given = some(
            rng,
            patience=[0, 1, 2, 5, 15],
            min_delta=[0.0, 1 / GRID, -3 / GRID],
            baseline=[None, 1.0, 2.0],
            start_from_epoch=[0, 1, 4],
            restore_best_weights=[True, False],
        )
        callback, model = keras_callback("EarlyStopping", monitor, **given)
        for epoch, value in enumerate(values):
            model.weights = epoch + 1
            callback.on_epoch_end(epoch, {"m": value})
            if model.stop_training:
                break
        last = model.weights
        callback.on_train_end()
        theirs = [("stop", last)] if model.stop_training else []
        spec = EarlyStopping.like("keras", monitor=monitor, **given)
        found, memory = ours(spec, values)
        assert found == theirs, (monitor, values, given)
        if memory.best_epoch:
            assert memory.best_epoch == callback.best_epoch + 1, (monitor, values, given)
        assert model.weights == (memory.best_epoch or last if spec.restore_best else last), (
            monitor,
            values,
            given,
        )
        stops, ends = stops + len(theirs), ends + (not theirs)
    assert min(stops, ends) > SERIES / 10


def test_the_example_where_they_differ():
    """D64: patience 3 on a flat loss."""
    flat = [1.0] * 12
    assert [e[1] for e in ours(ReduceLROnPlateau.like("keras", patience=3), flat)[0]] == [4, 7, 10]
    assert [e[1] for e in ours(ReduceLROnPlateau.like("torch", patience=3), flat)[0]] == [5, 9]


def test_the_example_of_the_thresholds():
    """D65: a loss near 0.01 that improves by 0.2 % an epoch."""
    falling = [0.01 * 0.998**epoch for epoch in range(12)]
    assert ours(ReduceLROnPlateau.like("torch", patience=4), falling)[0] == []
    assert len(ours(ReduceLROnPlateau.like("keras", patience=4), falling)[0]) == 2


def test_like_gives_each_frameworks_defaults_as_numbers():
    assert ReduceLROnPlateau.like("keras") == ReduceLROnPlateau(
        threshold=1e-4, first_is_best=True, patience=10
    )
    assert ReduceLROnPlateau.like("torch") == ReduceLROnPlateau(
        threshold=1e-4, relative=True, patience=11, min_change=1e-8
    )
    assert EarlyStopping.like("keras") == EarlyStopping(
        first_is_best=True, patience=1, restore_best=False
    )


def test_nan_is_better_than_nothing_not_even_than_that():
    nan = math.nan
    assert ours(EarlyStopping(patience=3), [nan, nan, nan])[0] == [("stop", 3)]
    events, memory = ours(EarlyStopping(patience=3), [nan, 2.0, nan, 1.0, nan, nan])
    assert events == []
    assert (memory.best, memory.best_epoch, memory.wait) == (1.0, 4, 2)
    assert ours(EarlyStopping.like("keras", patience=3), [nan, 2.0, 1.0, 0.5])[0] == [("stop", 4)]


def test_a_tie_is_not_better():
    _, memory = ours(
        EarlyStopping(monitor="validation_accuracy", patience=9), [0.5, 0.75, 0.75, 0.75]
    )
    assert (memory.best_epoch, memory.wait) == (2, 2)


def test_a_wrong_count_would_be_noticed():
    """The comparison can fail: with one more epoch of patience PyTorch's events differ."""
    flat = [1.0] * 12
    right = ReduceLROnPlateau.like("torch", patience=3)
    assert ours(right, flat)[0] == torch_cuts("validation_loss", flat, patience=3)
    assert ours(replace(right, patience=3), flat)[0] != torch_cuts(
        "validation_loss", flat, patience=3
    )


numbers = st.floats(0, 1e6)


@given(
    st.sampled_from(["loss", "validation_loss", "validation_accuracy"]),
    st.floats(0, 0.99),
    st.booleans(),
    st.booleans(),
    st.integers(1, 99),
    st.none() | numbers,
    st.floats(0.01, 0.99),
)
def test_json_gives_the_same_callbacks_back(
    monitor, threshold, relative, first, patience, baseline, factor
):
    watch = {
        "monitor": monitor,
        "threshold": threshold,
        "relative": relative,
        "first_is_best": first,
        "patience": patience,
    }
    recipe = Recipe(
        validation=0.1,
        callbacks=(
            EarlyStopping(**watch, baseline=baseline),
            ReduceLROnPlateau(**watch, factor=factor),
        ),
    )
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize("value", [None, 0.25, math.inf, -math.inf])
def test_a_memory_comes_back_from_strict_json(value):
    memory = CallbackMemory(value, 3, 2, 1)
    assert (
        CallbackMemory.from_json(json.loads(json.dumps(memory.to_json(), allow_nan=False)))
        == memory
    )


def read(callbacks: Any, **changes: Any) -> Recipe:
    return Recipe.from_json(Recipe().to_json() | {"callbacks": callbacks} | changes)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: EarlyStopping(monitor="val_loss"), "did you mean 'validation_loss'"),
        (lambda: EarlyStopping(patience=0), "patience must be a whole number of at least 1"),
        (lambda: EarlyStopping(threshold=-1), "threshold must be a number of at least 0"),
        (lambda: EarlyStopping(threshold=1.0, relative=True), "relative threshold must be below 1"),
        (lambda: EarlyStopping(restore_best="no"), "restore_best must be true or false"),
        (lambda: ReduceLROnPlateau(factor=1), "factor must be below 1"),
        (lambda: ReduceLROnPlateau(cooldown=1.5), "cooldown must be a whole number"),
        (lambda: EarlyStopping.like("torch"), "known: keras|did you mean"),
        (lambda: ReduceLROnPlateau.like("keras", min_rate=1), "did you mean 'min_lr'"),
        (lambda: read([{"name": "early-stoping"}]), "did you mean 'early-stopping'"),
        (lambda: read([{"name": "early-stopping", "patient": 3}]), "did you mean 'patience'"),
        (lambda: read({"name": "early-stopping"}), "callbacks must be a list"),
        (
            lambda: read(["early-stopping"]),
            "callback must be an object with a name, such as .*, not 'early-stopping'",
        ),
        (lambda: read([{"name": 5}]), "callback must be an object with a name"),
        (
            lambda: read([{"name": "early-stopping"}]),
            "watches validation_loss, but nothing is set aside",
        ),
        (
            lambda: read([{"name": "early-stopping", "monitor": "loss"}] * 2),
            "two callbacks are early-stopping",
        ),
        (lambda: Recipe(validation=1.0), "validation must be below 1"),
        (lambda: Recipe(validation=-0.1), "validation must be a number of at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(build, says: str):
    with pytest.raises(SpecError, match=says):
        build()
