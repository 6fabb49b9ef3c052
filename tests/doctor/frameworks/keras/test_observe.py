"""The adapter of Keras: what it observes, against formulas in NumPy and tapes written by hand."""

from typing import Any

import numpy as np
import pytest

from triptych.doctor.frameworks.adapter import ModelError
from triptych.doctor.repeats import check_repeats

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(0)


def side(adapter: Any, build: Any, dtype: str = "float64") -> Any:
    """Build a model in float64, or as it is written."""
    if dtype == "native":
        return adapter.Adapter(build(), dtype)
    with adapter.double_precision():
        return adapter.Adapter(build(), dtype)


def observe(adapter: Any, built: Any, batch: Any, **kwargs: Any) -> Any:
    with adapter.double_precision():
        inputs = built.inputs(batch)
        return built.observe(inputs, **{"training": False} | kwargs)


def random(*shape: int) -> Any:
    return RNG.normal(size=shape)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def conv(x: Any, kernel: Any, stride: int, padding: Any) -> Any:
    """A convolution as a sum over the kernel's places."""
    x = np.pad(x, [(0, 0), *padding, (0, 0)])
    height, width = kernel.shape[:2]
    rows = (x.shape[1] - height) // stride + 1
    columns = (x.shape[2] - width) // stride + 1
    result = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            part = x[:, i : i + rows * stride : stride, j : j + columns * stride : stride]
            result += part[:, :rows, :columns] @ kernel[i, j]
    return result


def lstm(x: Any, weights: Any) -> Any:
    units = weights["recurrent_kernel"].shape[0]
    h = np.zeros((len(x), units))
    c = np.zeros((len(x), units))
    steps = []
    for t in range(x.shape[1]):
        gates = x[:, t] @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"]
        i, f, g, o = np.split(gates, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        steps.append(h)
    return np.stack(steps, 1)


def gru(x: Any, weights: Any) -> Any:
    units = weights["recurrent_kernel"].shape[0]
    h = np.zeros((len(x), units))
    steps = []
    for t in range(x.shape[1]):
        inner = np.split(x[:, t] @ weights["kernel"] + weights["bias"], 3, -1)
        state = np.split(h @ weights["recurrent_kernel"] + weights["recurrent_bias"], 3, -1)
        z = sigmoid(inner[0] + state[0])
        r = sigmoid(inner[1] + state[1])
        h = z * h + (1 - z) * np.tanh(inner[2] + r * state[2])
        steps.append(h)
    return np.stack(steps, 1)


def attention(query: Any, key: Any, value: Any, w: Any, heads: int) -> Any:
    def split(x: Any, name: str) -> Any:
        projected = x @ w[f"{name}_kernel"] + w[f"{name}_bias"]
        return projected.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    q, k, v = split(query, "query"), split(key, "key"), split(value, "value")
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (scores / scores.sum(-1, keepdims=True)) @ v
    mixed = mixed.transpose(0, 2, 1, 3).reshape(*query.shape[:2], -1)
    return mixed @ w["output_kernel"] + w["output_bias"]


def randomize(built: Any) -> None:
    """Give every weight random values, so that no role can be taken for another."""
    weights = built.weights()
    new = {
        name: np.abs(random(*array.shape)) + 0.5 if "variance" in name else random(*array.shape)
        for name, array in weights.items()
    }
    built.load(new)
    for name, array in built.weights().items():
        np.testing.assert_array_equal(array, new[name])


def layer_case(keras: Any, name: str) -> tuple[Any, Any, Any]:
    """A layer, its input, and its formula from input and weights."""
    layers = keras.layers
    cases: dict[str, tuple[Any, Any, Any]] = {
        "dense": (
            lambda: layers.Dense(4),
            random(5, 3),
            lambda x, w: x @ w["kernel"] + w["bias"],
        ),
        "conv": (
            lambda: layers.Conv2D(4, 3, strides=2, padding="same"),
            random(2, 6, 7, 3),
            lambda x, w: conv(x, w["kernel"], 2, [(0, 1), (1, 1)]) + w["bias"],
        ),
        "batch_norm": (
            lambda: layers.BatchNormalization(),
            random(6, 3),
            lambda x, w: (x - w["mean"]) / np.sqrt(w["variance"] + 1e-3) * w["scale"] + w["offset"],
        ),
        "layer_norm": (
            lambda: layers.LayerNormalization(epsilon=1e-2),
            random(6, 5),
            lambda x, w: (
                (x - x.mean(-1, keepdims=True))
                / np.sqrt(x.var(-1, keepdims=True) + 1e-2)
                * w["scale"]
                + w["offset"]
            ),
        ),
        "embedding": (
            lambda: layers.Embedding(9, 4),
            RNG.integers(0, 9, (3, 5)),
            lambda x, w: w["embeddings"][x],
        ),
        "lstm": (lambda: layers.LSTM(4, return_sequences=True), random(2, 5, 3), lstm),
        "gru": (lambda: layers.GRU(4, return_sequences=True), random(2, 5, 3), gru),
        "attention": (
            # 1/√size passes through float32: 1/2 is exact.
            lambda: layers.MultiHeadAttention(2, 4),
            random(2, 5, 4),
            lambda x, w: attention(x, x, x, w, 2),
        ),
    }
    return cases[name]


LAYERS = ("dense", "conv", "batch_norm", "layer_norm", "embedding", "lstm", "gru", "attention")


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_s_weights_and_output_are_canonical(keras: Any, adapter: Any, name: str) -> None:
    make, x, formula = layer_case(keras, name)

    def build() -> Any:
        inputs = keras.Input(x.shape[1:], dtype="int32" if name == "embedding" else None)
        layer = make()
        outputs = layer(inputs, inputs) if name == "attention" else layer(inputs)
        return {"model": keras.Model(inputs, outputs)}

    built = side(adapter, build)
    randomize(built)
    seen = observe(adapter, built, {"x": x})
    (call,) = seen.anchors
    assert call.kind == name
    assert call.inputs == 1
    weights = {n.partition("/")[2]: array for n, array in built.weights().items()}
    expected = formula(x, weights)
    np.testing.assert_allclose(seen.arrays["0/output"], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(seen.arrays["0/input"], x)
    np.testing.assert_array_equal(seen.arrays["output"], seen.arrays["0/output"])


def small_network(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    skip = x
    x = layers.Conv2D(3, 1)(x)
    x = keras.ops.gelu(x) + skip
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    outputs = layers.Dense(4, activation="softmax", kernel_regularizer="l2", name="dense")(x)
    return {
        "model": keras.Model(inputs, outputs),
        "loss": "sparse_categorical_crossentropy",
        "optimizer": keras.optimizers.SGD(0.25, momentum=0.5),
    }


BATCH = {"x": RNG.normal(size=(5, 6, 6, 2)), "y": np.array([0, 3, 1, 1, 2])}


def test_calls_are_in_order_with_kinds_and_settings(keras: Any, adapter: Any) -> None:
    built = side(adapter, lambda: small_network(keras))
    seen = observe(adapter, built, BATCH)
    found = [(call.kind, call.name, call.anchor) for call in seen.calls]
    assert found == [
        ("conv", "Conv2D", True),
        ("activation", "relu", False),
        ("batch_norm", "BatchNormalization", True),
        ("conv", "Conv2D", True),
        ("activation", "ops.gelu", False),
        ("merge", "ops.add", False),
        ("pool", "MaxPooling2D", False),
        ("flatten", "Flatten", False),
        ("dropout", "Dropout", False),
        ("dense", "Dense", True),
        ("activation", "softmax", False),
    ]
    assert [call.number for call in seen.calls] == list(range(len(found)))
    assert seen.calls[0].settings["padding"] == [[1, 1], [1, 1]]
    assert seen.calls[4].settings == {"function": "gelu", "approximate": True}
    assert seen.calls[7].settings["from"] == [5, 3, 3, 3]
    assert seen.calls[8].settings["active"] is False
    norm = seen.calls[2]
    assert norm.settings["momentum"] == 0.01
    (layer,) = [each for each in built.description().layers if each.path == norm.layer]
    assert layer.written["momentum"] == "momentum=0.99"


def hand_written(keras: Any, drop: Any) -> Any:
    """Return a model in which a function drops out between two layers, in every mode."""

    class Dropping(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return drop(x)

    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(30, kernel_initializer="ones")(inputs)
    return {"model": keras.Model(inputs, Dropping()(outputs))}


def dropouts_by_hand(keras: Any) -> dict[str, Any]:
    """Return functions that drop a quarter of their input."""
    import tensorflow as tf

    def by_comparison(x: Any) -> Any:
        mask = tf.cast(tf.random.uniform(tf.shape(x)) >= 0.25, x.dtype)
        return x * mask / 0.75

    def by_floor(x: Any) -> Any:
        drawn = 1.75 - keras.random.uniform((keras.ops.shape(x)[0], 1), dtype=x.dtype)
        return x / 0.75 * keras.ops.floor(drawn)

    def by_choosing(x: Any) -> Any:
        kept = keras.random.uniform(keras.ops.shape(x)) > 0.25
        return keras.ops.where(kept, x / 0.75, keras.ops.zeros_like(x))

    def by_binomial(x: Any) -> Any:
        return x * keras.random.binomial(keras.ops.shape(x), 1, 0.75, dtype=x.dtype) / 0.75

    def by_tensorflow(x: Any) -> Any:
        return tf.nn.dropout(x, 0.25)

    functions = (by_comparison, by_floor, by_choosing, by_binomial, by_tensorflow)
    return {function.__name__: function for function in functions}


@pytest.mark.parametrize(
    "name", ["by_comparison", "by_floor", "by_choosing", "by_binomial", "by_tensorflow"]
)
def test_dropout_by_hand_is_recorded_and_not_drawn(keras: Any, adapter: Any, name: str) -> None:
    built = side(adapter, lambda: hand_written(keras, dropouts_by_hand(keras)[name]))
    x = random(40, 5)
    seen = observe(adapter, built, {"x": x})
    expected = np.repeat(x.sum(1, keepdims=True), 30, 1)
    np.testing.assert_allclose(seen.arrays["output"], expected, rtol=1e-12)
    (call,) = [each for each in seen.calls if each.kind == "dropout"]
    assert call.settings == {"rate": pytest.approx(0.25), "active": True}
    drawn = observe(adapter, built, {"x": x}, dropout=True)
    assert 0.05 < (drawn.arrays["output"] == 0).mean() < 0.5


def test_a_dropout_layer_that_is_told_to_train_is_active(keras: Any, adapter: Any) -> None:
    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(4)
            self.dropout = keras.layers.Dropout(0.25)

        def call(self, x: Any) -> Any:
            return self.dropout(self.dense(x), training=True)

    built = side(adapter, lambda: {"model": Net()})
    seen = observe(adapter, built, {"x": random(3, 5)})
    assert seen.calls[1].settings == {"rate": 0.25, "active": True}


def test_a_model_that_is_random_for_another_reason_stays_so(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    built = side(adapter, lambda: hand_written(keras, lambda x: tf.random.shuffle(x)))
    batch = {"x": random(20, 5)}
    first = observe(adapter, built, batch)
    with adapter.double_precision():
        again = built.repeat(built.inputs(batch))
    with pytest.raises(ModelError, match="what is random must be off in evaluation mode"):
        check_repeats(first, again, "float64")


def test_gradients_are_those_of_a_tape(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    built = side(adapter, lambda: small_network(keras))
    seen = observe(adapter, built, BATCH, training=True, targets={"y": BATCH["y"]})
    model = built.model.call
    model.get_layer("dropout").rate = 0.0
    with adapter.double_precision(), tf.GradientTape() as tape:
        output = model(BATCH["x"], training=True)
        loss = keras.losses.SparseCategoricalCrossentropy()(BATCH["y"], output)
    gradients = tape.gradient(loss, [each.value for each in model.trainable_variables])
    observed = [value for name, value in seen.arrays.items() if name.startswith("gradient/")]
    np.testing.assert_allclose(seen.arrays["loss"], loss, rtol=1e-12)
    for array, gradient in zip(observed, gradients, strict=True):
        np.testing.assert_allclose(array, gradient, rtol=1e-9, atol=1e-13)
    kernel = built.weights()["dense/kernel"]
    np.testing.assert_allclose(seen.arrays["penalty"], 0.01 * np.sum(kernel**2), rtol=1e-7)
    np.testing.assert_allclose(
        seen.arrays["penalty_gradient/dense/kernel"], 0.02 * kernel, rtol=1e-7
    )


def test_an_observation_leaves_weights_and_buffers_as_they_were(keras: Any, adapter: Any) -> None:
    built = side(adapter, lambda: small_network(keras))
    with adapter.double_precision():
        inputs = built.inputs(BATCH)
        before = built.weights()
        seen = built.observe(inputs, training=True, targets={"y": BATCH["y"]})
        after = built.weights()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    x = seen.arrays["2/input"]
    mean = seen.arrays["buffer/norm/mean"]
    np.testing.assert_allclose(mean, 0.01 * x.mean((0, 1, 2)), rtol=1e-9)


def test_forced_anchors_are_independent(keras: Any, adapter: Any) -> None:
    """Each layer of two gets its own input, and what it hands back is of its own gradient."""

    def build() -> Any:
        inputs = keras.Input((3,))
        hidden = keras.layers.Dense(4, activation="tanh", name="first")(inputs)
        return {
            "model": keras.Model(inputs, keras.layers.Dense(2, name="second")(hidden)),
            "loss": "mean_squared_error",
        }

    built = side(adapter, build)
    randomize(built)
    x, y = random(5, 3), random(5, 2)
    forced = {
        "0/input": random(5, 3),
        "0/output": random(5, 4),
        "0/output_gradient": random(5, 4),
        "0/input_gradient": random(5, 3),
        "2/input": random(5, 4),
        "2/output": random(5, 2),
        "2/output_gradient": random(5, 2),
        "2/input_gradient": random(5, 4),
    }
    seen = observe(adapter, built, {"x": x}, training=True, targets={"y": y}, forced=forced).arrays
    w = built.weights()
    first, second = w["first/kernel"], w["second/kernel"]
    activated = np.tanh(forced["0/output"])
    expected = {
        "0/input": x,
        "0/output": forced["0/input"] @ first + w["first/bias"],
        "1/output": activated,
        "2/input": activated,
        "2/output": forced["2/input"] @ second + w["second/bias"],
        "output": forced["2/output"],
        "loss": np.mean((forced["2/output"] - y) ** 2),
        "gradient/first/kernel": forced["0/input"].T @ forced["0/output_gradient"],
        "gradient/second/bias": forced["2/output_gradient"].sum(0),
        "0/input_gradient": forced["0/output_gradient"] @ first.T,
        "2/input_gradient": forced["2/output_gradient"] @ second.T,
        "0/output_gradient": forced["2/input_gradient"] * (1 - activated**2),
        "2/output_gradient": 2 * (forced["2/output"] - y) / y.size,
    }
    for name, array in expected.items():
        np.testing.assert_allclose(seen[name], array, rtol=1e-9, atol=1e-13, err_msg=name)


def test_the_logits_behind_a_softmax_survive(keras: Any, adapter: Any) -> None:
    """A confident error costs 30, as Keras computes it from the logits, not 16.1."""

    def build() -> Any:
        inputs = keras.Input((3,))
        layer = keras.layers.Dense(3, activation="softmax", kernel_initializer="identity")
        return {
            "model": keras.Model(inputs, layer(inputs)),
            "loss": "sparse_categorical_crossentropy",
        }

    built = side(adapter, build)
    batch = {"x": np.array([[30.0, 0.0, 0.0]]), "y": np.array([1])}
    seen = observe(adapter, built, batch, training=True, targets={"y": batch["y"]})
    np.testing.assert_allclose(seen.arrays["loss"], 30.0, rtol=1e-9)
    assert "output_gradient" not in seen.arrays
    with adapter.double_precision():
        plain = built.loss({"output": seen.arrays["output"]}, {"y": batch["y"]})
    np.testing.assert_allclose(plain["loss"], 16.118, rtol=1e-4)


def test_updates_and_training_follow_the_formula(keras: Any, adapter: Any) -> None:
    built = side(adapter, lambda: small_network(keras))
    targets = {"y": BATCH["y"]}
    with adapter.double_precision():
        inputs = built.inputs(BATCH)
        before = built.weights()
        seen = built.observe(inputs, training=True, targets=targets)
        name = "dense/kernel"
        gradient = seen.arrays[f"gradient/{name}"] + seen.arrays[f"penalty_gradient/{name}"]
        gradients = {
            each.removeprefix("gradient/"): array
            for each, array in seen.arrays.items()
            if each.startswith("gradient/")
        }
        gradients[name] = gradient
        updates = built.update([gradients, gradients])
        trained, losses = built.train(inputs, targets, 1)
        after = built.weights()
    np.testing.assert_allclose(updates.weights[0][name], before[name] - 0.25 * gradient)
    # Momentum: the second step is 1.5 times as long.
    np.testing.assert_allclose(updates.weights[1][name], before[name] - 0.625 * gradient)
    np.testing.assert_allclose(trained[name], before[name] - 0.25 * gradient, rtol=1e-12)
    np.testing.assert_allclose(losses, [seen.arrays["loss"]])
    assert updates.rates == (0.25, 0.25)
    for each, array in before.items():
        np.testing.assert_array_equal(after[each], array)


def test_a_model_with_an_input_of_a_fixed_dtype_has_no_float64(keras: Any, adapter: Any) -> None:
    def build() -> Any:
        inputs = keras.Input((3,), dtype="float32", name="x")
        return keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))

    why = "the input x is float32 also in float64"
    with adapter.double_precision(), pytest.raises(ModelError, match=why):
        adapter.Adapter({"model": build()}, "float64").inputs({"x": random(2, 3)})


def test_unknown_weights_and_wrong_shapes_are_refused(keras: Any, adapter: Any) -> None:
    built = side(adapter, lambda: small_network(keras))
    with pytest.raises(ModelError, match="no weight nothing/kernel"):
        built.load({"nothing/kernel": random(1)})
    with pytest.raises(ModelError, match=r"dense/bias has the shape \[4\], not \[3\]"):
        built.load({"dense/bias": random(3)})
