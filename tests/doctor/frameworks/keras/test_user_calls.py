"""What is timed of a model of Keras is the step that is compared."""

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.framework

BATCH = {"x": np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)}
TARGETS = {"y": np.array([0, 1, 1, 0, 2, 2])}


def layers(keras: Any) -> tuple[Any, Any]:
    return keras.layers.Dense(5, activation="relu", name="a"), keras.layers.Dense(4, name="b")


def functional(keras: Any) -> Any:
    first, second = layers(keras)
    inputs = keras.Input((3,))
    return keras.Model(inputs, second(keras.layers.BatchNormalization()(first(inputs))))


def function(keras: Any) -> Any:
    first, second = layers(keras)

    def model(x: Any) -> Any:
        return second(first(x))

    return model


@pytest.mark.parametrize("build", [functional, function])
def test_timed_steps_are_those_of_a_training(keras: Any, adapter: Any, build: Any) -> None:
    side = adapter.Adapter(
        {
            "model": build(keras),
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "optimizer": keras.optimizers.SGD(0.1, momentum=0.9),
        },
        "native",
    )
    inputs = side.inputs(BATCH)
    expected, _ = side.train(inputs, TARGETS, 3)
    calls = side.user_calls(inputs, TARGETS)
    for _ in range(3):
        calls.train()
    for name, array in side.weights().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    before = side.weights()
    calls.infer()
    for name, array in side.weights().items():
        np.testing.assert_array_equal(array, before[name])


def test_without_an_optimizer_there_is_only_inference(keras: Any, adapter: Any) -> None:
    side = adapter.Adapter({"model": functional(keras), "loss": "mse"}, "native")
    calls = side.user_calls(side.inputs(BATCH), TARGETS)
    assert calls.train is None
    calls.infer()


def test_a_model_that_was_compiled_keeps_how_it_runs(keras: Any, adapter: Any) -> None:
    model = functional(keras)
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    side = adapter.Adapter({"model": model}, "native")
    calls = side.user_calls(side.inputs(BATCH), {"y": np.zeros((6, 4), np.float32)})
    assert calls.train
    calls.train()
    assert model.run_eagerly
    assert model._compile_metrics is None
