"""What belongs to a model of Keras: schedules, callbacks, metrics, batches, descriptions."""

from typing import Any

import numpy as np
import pytest

from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.observation import Description

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # Keras' own callbacks
]

BATCH = {"x": np.arange(12.0).reshape(6, 2), "y": np.arange(6)}


def made(keras: Any, adapter: Any, **parts: Any) -> Any:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="a")(inputs))
    return adapter.Adapter({"model": model} | parts, "native")


FLAT = [1.0] * 11


def test_a_plateau_rule_cuts_after_its_patience(keras: Any, adapter: Any) -> None:
    """On a flat loss with patience 3: after epochs 4, 7 and 10, counted from 1."""
    rule = keras.callbacks.ReduceLROnPlateau(patience=3, factor=0.5)
    side = made(keras, adapter, optimizer=keras.optimizers.SGD(1.0), callbacks=[rule])
    for _ in range(2):
        result = side.epochs(FLAT)
        assert result["rates"] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
        assert result["stopped"] is None
        assert result["restored"] is None
    assert side.rates(1) == [1.0]
    assert rule.wait == 0


@pytest.mark.parametrize(("restore", "kept"), [(True, 1), (False, None)])
def test_early_stopping(keras: Any, adapter: Any, restore: bool, kept: Any) -> None:
    rule = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=restore)
    side = made(keras, adapter, optimizer=keras.optimizers.SGD(1.0), callbacks=[rule])
    before = side.weights()
    result = side.epochs([3.0, 1.0, 2.0, 2.0, 0.5])
    assert result == {"rates": [1.0] * 4, "stopped": 3, "restored": kept}
    for name, array in before.items():
        np.testing.assert_array_equal(side.weights()[name], array)


def test_a_scheduler_and_a_callback_of_the_user_s(keras: Any, adapter: Any) -> None:
    class Halve(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 2

    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 2.0**-epoch)
    side = made(keras, adapter, optimizer=keras.optimizers.SGD(1.0), callbacks=[scheduler])
    assert side.epochs(FLAT[:3])["rates"] == [0.5, 0.25, 0.125]
    side = made(keras, adapter, optimizer=keras.optimizers.SGD(1.0), callbacks=[Halve()])
    assert side.epochs(FLAT[:3])["rates"] == [1.0, 0.5, 0.5]


def test_a_callback_that_monitors_something_else_is_refused(keras: Any, adapter: Any) -> None:
    rule = keras.callbacks.EarlyStopping(monitor="val_accuracy")
    side = made(keras, adapter, optimizer=keras.optimizers.SGD(1.0), callbacks=[rule])
    with pytest.raises(Unsupported, match="EarlyStopping monitors val_accuracy"):
        side.epochs(FLAT)


def test_schedules_count_updates(keras: Any, adapter: Any) -> None:
    schedules = keras.optimizers.schedules
    schedule = schedules.PiecewiseConstantDecay([2], [1.0, 0.25])
    side = made(
        keras, adapter, optimizer=keras.optimizers.SGD(schedule), steps_per_epoch=2, schedule=None
    )
    # The boundary belongs to the first part.
    assert side.rates(5) == [1, 1, 1, 0.25, 0.25]
    assert side.epochs(FLAT[:3])["rates"] == [1, 0.25, 0.25]
    description = side.description()
    assert description.schedule
    assert description.schedule.type == "PiecewiseConstantDecay"
    assert "schedule" in description.given
    gradients = [{"a/kernel": np.ones((2, 3)), "a/bias": np.ones(3)}] * 4
    updates = side.update(gradients)
    assert updates.rates == (1, 1, 1, 0.25)
    steps = np.diff([w["a/bias"][0] for w in updates.weights])
    np.testing.assert_allclose(steps, [-1, -1, -0.25])


def test_a_missing_gradient_is_named(keras: Any, adapter: Any) -> None:
    side = made(keras, adapter, optimizer=keras.optimizers.SGD(1.0))
    with pytest.raises(ModelError, match="no array of a/bias"):
        side.update([{"a/kernel": np.ones((2, 3))}])


def test_a_loss_by_name_is_what_compile_makes_of_it(keras: Any, adapter: Any) -> None:
    """Targets (N,) and outputs (N, 1) are compared one by one."""
    side = made(keras, adapter, loss="mse")
    output = np.arange(4.0, dtype=np.float32)[:, None]
    target = np.array([0.0, 1.0, 2.0, 5.0], np.float32)
    arrays = side.loss({"output": output}, {"y": target})
    np.testing.assert_allclose(arrays["loss"], 1.0)
    np.testing.assert_allclose(arrays["output_gradient"], [[0], [0], [0], [-1]])


def test_a_loss_that_is_no_number_is_averaged(keras: Any, adapter: Any) -> None:
    side = made(keras, adapter, loss=lambda y, p: (y - p) ** 2)
    arrays = side.loss({"output": np.array([1.0, 3.0])}, {"y": np.zeros(2)})
    np.testing.assert_allclose(arrays["loss"], 5.0)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", 0.75),
        (lambda y, p: y - p[:, 0], 0.9),
        ("SparseCategoricalAccuracy", 0.75),
    ],
)
def test_metrics(keras: Any, adapter: Any, metric: Any, expected: float) -> None:
    if metric == "SparseCategoricalAccuracy":
        metric = keras.metrics.SparseCategoricalAccuracy()
        metric.update_state([0], [[0.0, 1.0]])  # what it has seen before does not count
    side = made(keras, adapter, metric=metric)
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    targets = np.array([1.0, 1.0, 1.0, 1.0]) if callable(metric) else np.array([1, 1, 1, 1])
    if callable(metric) and not isinstance(metric, keras.metrics.Metric):
        targets = targets + 0.25
    found = side.metric({"output": outputs}, {"y": targets})
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_metric_with_a_state_gets_batches_of_the_authors_size(keras: Any, adapter: Any) -> None:
    class MeanOfBatches(keras.metrics.Mean):
        def update_state(self, target: Any, output: Any, sample_weight: Any = None) -> Any:
            return super().update_state([keras.ops.mean(output)])

    given = {"output": np.array([[0.0], [0.0], [3.0]])}, {"y": np.zeros(3)}
    assert made(keras, adapter, metric=MeanOfBatches()).metric(*given) == 1.0
    assert made(keras, adapter, metric=MeanOfBatches(), batch_size=2).metric(*given) == 1.5


def test_batches(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    side = made(keras, adapter, batch_size=4)
    first, second = side.batches(BATCH)
    np.testing.assert_array_equal(first["x"], BATCH["x"][:4])
    np.testing.assert_array_equal(second["y"], [4, 5])

    def dataset(x: Any, y: Any) -> Any:
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(3)

    side = made(keras, adapter, batches=dataset)
    assert [list(each["y"]) for each in side.batches(BATCH)] == [[0, 1, 2], [3, 4, 5]]

    def endless(x: Any, y: Any) -> Any:
        while True:
            yield (x[:3], x[3:]), y[:3]

    side = made(keras, adapter, batches=endless)
    made_batches = side.batches(BATCH)
    assert len(made_batches) == 4
    np.testing.assert_array_equal(made_batches[0]["x2"], BATCH["x"][3:])
    with pytest.raises(Unsupported, match="neither batches nor batch_size"):
        made(keras, adapter).batches(BATCH)


def weighted(y: Any, p: Any) -> Any:
    return y * p


def test_the_description_is_plain(keras: Any, adapter: Any) -> None:
    import json

    side = made(
        keras,
        adapter,
        loss=weighted,
        optimizer=keras.optimizers.Adam(0.1, clipnorm=1.0),
        metric=keras.metrics.BinaryAccuracy(threshold=0.25),
        callbacks=[keras.callbacks.EarlyStopping(patience=3)],
        batch_size=8,
    )
    described = side.description()
    assert described.version.startswith("keras 3.")
    assert "(tensorflow 2." in described.version
    assert described.optimizer
    assert described.loss
    assert described.metric
    settings = described.optimizer.settings
    assert (settings["learning_rate"], settings["clipnorm"], settings["epsilon"]) == (0.1, 1, 1e-7)
    assert described.loss.source.startswith("def weighted(y")
    assert described.metric.settings["threshold"] == 0.25
    assert described.callbacks[0].settings["patience"] == 3
    assert described.batch_size == 8
    again = Description.from_json(json.loads(json.dumps(described.to_json())))
    assert again == described


def test_what_a_model_was_compiled_with_need_not_be_given(keras: Any, adapter: Any) -> None:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1, name="a")(inputs))
    model.compile("sgd", lambda y, p: keras.ops.abs(y - p), metrics=["mse"])
    side = adapter.Adapter({"model": model}, "native")
    described = side.description()
    assert described.given == ("loss", "optimizer", "metric", "model")
    assert described.optimizer
    assert described.optimizer.type == "SGD"
    # As fit does it: targets (N,) get the shape of the outputs (N, 1).
    output = np.array([[1.0], [4.0]], np.float32)
    target = np.array([1.0, 2.0], np.float32)
    arrays = side.loss({"output": output}, {"y": target})
    np.testing.assert_allclose(arrays["loss"], 1.0)
    assert side.metric({"output": output}, {"y": target}) == pytest.approx(2.0)
    other = adapter.Adapter({"model": model, "loss": "mse"}, "native")
    assert float(other.loss({"output": output}, {"y": target})["loss"]) == pytest.approx(2.0)


def test_a_loss_scale_is_named_and_has_no_effect(keras: Any, adapter: Any) -> None:
    inner = keras.optimizers.SGD(0.5)
    side = made(keras, adapter, optimizer=keras.optimizers.LossScaleOptimizer(inner))
    described = side.description().optimizer
    assert described
    assert (described.type, described.settings["loss_scale"]) == ("SGD", 2.0**15)
    before = side.weights()["a/bias"]
    gradients = {"a/kernel": np.ones((2, 3)), "a/bias": np.ones(3)}
    updates = side.update([gradients, gradients])
    np.testing.assert_allclose(updates.weights[1]["a/bias"], before - 1.0)
    assert updates.rates == (0.5, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda side: side.update([]), "no optimizer"),
        (lambda side: side.rates(2), "neither an optimizer nor a schedule"),
        (lambda side: side.loss({}, {}), "no loss"),
        (lambda side: side.metric({}, {}), "no metric"),
    ],
)
def test_what_is_missing_is_said(keras: Any, adapter: Any, call: Any, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        call(made(keras, adapter))


def test_an_optimizer_of_another_framework_is_refused(keras: Any, adapter: Any) -> None:
    with pytest.raises(ModelError, match="optimizer is a dict; it must be one of Keras"):
        made(keras, adapter, optimizer={})


def test_a_model_without_inputs_yet_cannot_be_described(keras: Any, adapter: Any) -> None:
    side = adapter.Adapter({"model": keras.Sequential([keras.layers.Dense(2)])}, "native")
    with pytest.raises(ModelError, match="built by its first call"):
        side.description()
    side.inputs({"x": BATCH["x"]})
    assert side.description().layers[0].roles == ("kernel", "bias")
