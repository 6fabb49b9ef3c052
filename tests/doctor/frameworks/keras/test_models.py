"""Models of Keras of every form: what is seen of them, and what they do."""

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(3)
IMAGES = RNG.normal(size=(3, 6, 5, 2))
SEQUENCES = RNG.normal(size=(3, 4, 2))
VECTORS = RNG.normal(size=(4, 3))


class Side:
    """An adapter in float64, whose methods are called in double precision."""

    def __init__(self, adapter: Any, make: Any, batch: Any) -> None:
        self._adapter = adapter
        with adapter.double_precision():
            parts = make()
            self.built = adapter.Adapter(
                parts if isinstance(parts, dict) else {"model": parts}, "float64"
            )
            self.inputs = self.built.inputs(batch)

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            with self._adapter.double_precision():
                return getattr(self.built, name)(*args, **kwargs)

        return method

    def see(self, **kwargs: Any) -> Any:
        return self.observe(self.inputs, **{"training": False} | kwargs)

    def randomize(self) -> Any:
        weights = {
            name: np.abs(RNG.normal(size=array.shape))
            if "variance" in name
            else RNG.normal(size=array.shape)
            for name, array in self.weights().items()
        }
        self.load(weights)
        return weights


def functional(keras: Any, x: Any, *layers: Any) -> Any:
    inputs = keras.Input(x.shape[1:], dtype="int32" if x.dtype.kind == "i" else None)
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def paths(side: Side) -> list[str]:
    return [layer.path for layer in side.description().layers]


def names(seen: Any) -> list[tuple[str, str]]:
    return [(call.layer, call.name) for call in seen.calls]


def test_a_separable_convolution_is_two_convolutions(keras: Any, adapter: Any) -> None:
    layers = keras.layers

    def separable() -> Any:
        layer = layers.SeparableConv2D(
            4, 3, strides=2, padding="same", depth_multiplier=2, activation="relu", name="a"
        )
        return functional(keras, IMAGES, layer)

    def two() -> Any:
        return functional(
            keras,
            IMAGES,
            layers.DepthwiseConv2D(3, 2, "same", 2, use_bias=False, name="d"),
            layers.Conv2D(4, 1, activation="relu", name="p"),
        )

    side, other = Side(adapter, separable, {"x": IMAGES}), Side(adapter, two, {"x": IMAGES})
    weights = side.randomize()
    assert list(weights) == ["a.depthwise/kernel", "a.pointwise/kernel", "a.pointwise/bias"]
    renamed = {
        name.replace("a.depthwise", "d").replace("a.pointwise", "p"): array
        for name, array in weights.items()
    }
    other.load(renamed)
    for seen, wanted in [(side.see(), other.see())]:
        assert [call.kind for call in seen.calls] == ["depthwise_conv", "conv", "activation"]
        assert seen.calls[0].settings["padding"] == [[0, 1], [1, 1]]
        for name, array in wanted.arrays.items():
            np.testing.assert_allclose(seen.arrays[name], array, rtol=1e-12)
    plain = side.built.model.call(IMAGES)
    np.testing.assert_allclose(side.see().arrays["output"], plain, rtol=1e-6)
    forced = {"1/input": RNG.normal(size=side.see().arrays["1/input"].shape)}
    np.testing.assert_allclose(
        side.see(forced=forced).arrays["1/output"], other.see(forced=forced).arrays["1/output"]
    )


def test_a_layer_for_each_step_is_seen_once(keras: Any, adapter: Any) -> None:
    layers = keras.layers
    clips = RNG.normal(size=(2, 3, 6, 5, 2))

    def make() -> Any:
        return functional(
            keras,
            clips,
            layers.TimeDistributed(layers.Conv2D(3, 2, activation="relu"), name="a"),
            layers.TimeDistributed(layers.Flatten(), name="b"),
            layers.TimeDistributed(layers.Dense(2, activation="tanh"), name="c"),
        )

    side = Side(adapter, make, {"x": clips})
    side.randomize()
    seen = side.see()
    assert paths(side) == ["a", "b", "c"]
    kinds = ["conv", "activation", "flatten", "dense", "activation"]
    assert [call.kind for call in seen.calls] == kinds
    assert seen.arrays["0/input"].shape == (6, 6, 5, 2)
    assert seen.arrays["3/input"].shape == (2, 3, 60)
    np.testing.assert_allclose(seen.arrays["output"], side.built.model.call(clips), rtol=1e-6)


def test_both_directions_and_their_states(keras: Any, adapter: Any) -> None:
    layers = keras.layers

    def make() -> Any:
        inputs = keras.Input(SEQUENCES.shape[1:])
        lstm = layers.LSTM(3, return_sequences=True, return_state=True)
        outputs, *states = layers.Bidirectional(lstm, name="a")(inputs)
        last = layers.GRU(2, name="b")(outputs, initial_state=states[0][:, :2])
        return keras.Model(inputs, [last, states[3]])

    side = Side(adapter, make, {"x": SEQUENCES})
    weights = side.randomize()
    assert [name for name in weights if name.startswith("a/")] == [
        "a/kernel",
        "a/recurrent_kernel",
        "a/bias",
        "a/reverse_kernel",
        "a/reverse_recurrent_kernel",
        "a/reverse_bias",
    ]
    seen = side.see()
    first, second = seen.anchors
    assert (first.kind, first.settings["bidirectional"], second.inputs) == ("lstm", True, 2)
    arrays = seen.arrays
    number = first.number
    output, hidden, cell = (arrays[f"{number}/output{each}"] for each in ("", "1", "2"))
    assert hidden.shape == cell.shape == (2, 3, 3)
    np.testing.assert_allclose(output[:, -1, :3], hidden[0])
    np.testing.assert_allclose(output[:, 0, 3:], hidden[1])
    np.testing.assert_array_equal(arrays["output1"], cell[1])
    np.testing.assert_array_equal(arrays[f"{second.number}/input1"], hidden[0][:, :2])
    forced = {f"{number}/output": output, f"{number}/output1": 2 * hidden}
    again = side.see(forced=forced).arrays
    np.testing.assert_array_equal(again[f"{second.number}/input1"], 2 * hidden[0][:, :2])


def test_the_inputs_of_attention_are_query_key_value(keras: Any, adapter: Any) -> None:
    def make() -> Any:
        query, value, key = (keras.Input((4, 2)) for _ in range(3))
        attention = keras.layers.MultiHeadAttention(2, 4, name="a")
        return keras.Model([query, value, key], attention(query, value, key))

    arrays = [RNG.normal(size=(3, 4, 2)) for _ in range(3)]
    batch = dict(zip(("x", "x2", "x3"), arrays, strict=True))
    side = Side(adapter, make, batch)
    side.randomize()
    seen = side.see()
    for name, array in zip(("input", "input2", "input1"), arrays, strict=True):
        np.testing.assert_array_equal(seen.arrays[f"0/{name}"], array)
    forced = {f"0/{name}": RNG.normal(size=(3, 4, 2)) for name in ("input", "input1", "input2")}
    with adapter.double_precision():
        expected = side.built.model.call(
            [forced["0/input"], forced["0/input2"], forced["0/input1"]]
        )
    np.testing.assert_allclose(side.see(forced=forced).arrays["0/output"], expected, rtol=1e-12)


def test_channels_first_is_seen_with_channels_last(keras: Any, adapter: Any) -> None:
    layers = keras.layers

    def make(form: str) -> Any:
        axis = 1 if form == "channels_first" else -1
        x = IMAGES if axis == -1 else np.moveaxis(IMAGES, -1, 1)
        return functional(
            keras,
            x,
            layers.Conv2D(3, 3, padding="same", data_format=form, activation="relu", name="a"),
            layers.BatchNormalization(axis=axis, name="b"),
            layers.Flatten(data_format=form),
            layers.Dense(2, name="c"),
        )

    last = Side(adapter, lambda: make("channels_last"), {"x": IMAGES})
    first = Side(adapter, lambda: make("channels_first"), {"x": np.moveaxis(IMAGES, -1, 1)})
    first.load(last.randomize())
    wanted, seen = last.see(), first.see()
    for name, array in wanted.arrays.items():
        if not name.startswith("3/"):
            np.testing.assert_allclose(seen.arrays[name], array, rtol=1e-9, err_msg=name)
    assert seen.calls[3].settings == wanted.calls[3].settings
    forced = {"2/input": RNG.normal(size=IMAGES.shape[:3] + (3,))}
    np.testing.assert_allclose(
        first.see(forced=forced).arrays["2/output"], last.see(forced=forced).arrays["2/output"]
    )


def test_nested_models_functions_and_own_weights(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    layers = keras.layers
    gelu = keras.ops.gelu  # a name of the user's own for a function
    globals()["user_gelu"] = gelu

    class Block(layers.Layer):
        def __init__(self, units: int, name: str) -> None:
            super().__init__(name=name)
            self.dense = layers.Dense(units, name="dense")
            self.activation = keras.activations.get("silu")

        def build(self, shape: Any) -> None:
            self.dense.build(shape)
            self.scale = self.add_weight(shape=(1,), name="scale", initializer="ones")

        def call(self, x: Any) -> Any:
            return user_gelu(self.activation(self.dense(x)) * self.scale)  # noqa: F821

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = Block(3, "first")
            self.inner = keras.Sequential([layers.Dense(3, name="dense")], name="inner")
            self.head = layers.Dense(2, name="head")

        def build(self, shape: Any) -> None:
            self.first.build(shape)
            self.inner.build((None, 3))
            self.head.build((None, 3))

        def call(self, x: Any) -> Any:
            x = self.first(x)
            x = x + self.inner(x)
            return self.head(tf.concat([x[:, :1], tf.math.tanh(x[:, 1:])], axis=1))

    side = Side(adapter, Net, {"x": VECTORS})
    assert paths(side) == ["first", "first.dense", "inner.dense", "head"]
    assert "first/scale" in side.weights()
    seen = side.see()
    assert names(seen) == [
        ("first.dense", "Dense"),
        ("", "activations.silu"),
        ("", "*"),
        ("", "ops.gelu"),
        ("inner.dense", "Dense"),
        ("", "+"),
        ("", "[]"),
        ("", "[]"),
        ("", "tf.tanh"),
        ("", "tf.concat"),
        ("head", "Dense"),
    ]
    kinds = [seen.calls[number].kind for number in (1, 2, 3, 5, 6, 8, 9)]
    expected = ["activation", "merge", "activation", "merge", "function", "activation", "merge"]
    assert kinds == expected
    assert seen.calls[9].settings == {"function": "concatenate", "axis": -1}
    del globals()["user_gelu"]


def test_the_weights_of_the_model_itself_have_its_name(keras: Any, adapter: Any) -> None:
    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.head = keras.layers.Dense(2, name="head")
            self.shift = self.add_weight(shape=(3,), name="shift", initializer="zeros")

        def call(self, x: Any) -> Any:
            return self.head(x + self.shift)

    side = Side(adapter, Net, {"x": VECTORS})
    weights = side.randomize()
    assert sorted(weights) == ["head/bias", "head/kernel", "net/shift"]
    assert [layer.path for layer in side.description().layers if layer.roles] == ["net", "head"]
    expected = (VECTORS + weights["net/shift"]) @ weights["head/kernel"] + weights["head/bias"]
    np.testing.assert_allclose(side.see().arrays["output"], expected)


def test_weights_to_load_have_the_names_of_keras(keras: Any, adapter: Any) -> None:
    def make() -> Any:
        layers = keras.layers
        return functional(keras, VECTORS, layers.Dense(2, name="a"), layers.BatchNormalization())

    side = Side(adapter, make, {"x": VECTORS})
    weights = side.randomize()
    arrays = side.framework_weights()
    model = side.built.parts["model"]
    assert list(arrays) == [weight.path for weight in model.weights]
    assert len(arrays) == 6
    np.testing.assert_array_equal(arrays["a/kernel"], weights["a/kernel"])
    function = Side(adapter, lambda: lambda x: model(x), {"x": VECTORS})
    with pytest.raises(Exception, match="a function and has no weights to load"):
        function.framework_weights()


def test_a_function_that_calls_layers_is_a_model(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    def make() -> Any:
        hidden = keras.layers.Dense(4, name="hidden")
        kernel = tf.Variable(RNG.normal(size=(4, 2)), name="kernel")

        def network(x: Any) -> Any:
            return tf.matmul(tf.nn.relu(hidden(x)), kernel)

        return {
            "model": network,
            "loss": lambda y, p: tf.reduce_mean((y - p) ** 2),
            "optimizer": keras.optimizers.SGD(0.5),
        }

    target = RNG.normal(size=(4, 2))
    side = Side(adapter, make, {"x": VECTORS})
    assert adapter.accepts(side.built.parts["model"])
    assert not adapter.accepts(len)
    assert list(side.weights()) == ["hidden/kernel", "hidden/bias", "kernel/value"]
    weights = side.randomize()
    seen = side.see(training=True, targets={"y": target})
    assert names(seen)[:2] == [("hidden", "Dense"), ("", "tf.nn.relu")]
    hidden = np.maximum(VECTORS @ weights["hidden/kernel"] + weights["hidden/bias"], 0)
    error = 2 * (hidden @ weights["kernel/value"] - target) / target.size
    np.testing.assert_allclose(seen.arrays["gradient/kernel/value"], hidden.T @ error)
    trained, _ = side.train(side.inputs, {"y": target}, 1)
    np.testing.assert_allclose(
        trained["kernel/value"], weights["kernel/value"] - 0.5 * hidden.T @ error, rtol=1e-9
    )
    np.testing.assert_array_equal(side.weights()["kernel/value"], weights["kernel/value"])
    assert side.description().model == "network"


def test_inputs_may_be_a_dict(keras: Any, adapter: Any) -> None:
    def make() -> Any:
        a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
        outputs = keras.layers.Dense(2)(keras.layers.Concatenate()([a, b]))
        model = keras.Model({"a": a, "b": b}, outputs)
        return {"model": model, "preprocess": lambda x: {"a": x, "b": 2 * x[:, :2]}}

    side = Side(adapter, make, {"x": VECTORS})
    np.testing.assert_array_equal(side.inputs["input1"], 2 * VECTORS[:, :2])
    expected = side.built.model.call({"a": VECTORS, "b": 2 * VECTORS[:, :2]})
    np.testing.assert_allclose(side.see().arrays["output"], expected)


def test_nothing_is_drawn_unless_it_is_wanted(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    layers = keras.layers

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [
                layers.Dropout(0.5, name="a"),
                layers.GaussianNoise(1.0, name="b"),
                layers.SpatialDropout1D(0.5, name="c"),
                layers.LSTM(2, dropout=0.5, recurrent_dropout=0.5, return_sequences=True),
            ]
            self.attention = layers.MultiHeadAttention(1, 4, dropout=0.5)

        def build(self, shape: Any) -> None:
            self.parts[3].build(shape)
            self.attention.build(shape, shape)

        def call(self, x: Any, training: Any = None) -> Any:
            for part in self.parts:
                x = part(x, training=training)
            x = x + self.attention(x, x, training=training)
            return keras.random.dropout(tf.nn.dropout(x, 0.25), 0.5)

    side = Side(adapter, Net, {"x": SEQUENCES})
    evaluated, trained = side.see(), side.see(training=True)
    np.testing.assert_array_equal(trained.arrays["output"], evaluated.arrays["output"])
    for seen, active in ((evaluated, False), (trained, True)):
        drops = [call for call in seen.calls if call.kind == "dropout"]
        assert [call.settings["active"] for call in drops] == [active] * 3 + [True] * 2
        assert [call.settings["rate"] for call in drops] == [0.5, 1.0, 0.5, 0.25, 0.5]
    drawn = side.see(training=True, dropout=True).arrays["output"]
    assert np.max(np.abs(drawn - trained.arrays["output"])) > 0.1


def test_masks_reach_the_layers_that_use_them(keras: Any, adapter: Any) -> None:
    words = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [1, 1, 2, 3]])
    layers = keras.layers

    def make() -> Any:
        return functional(
            keras,
            words,
            layers.Embedding(4, 2, mask_zero=True, name="a"),
            layers.GlobalAveragePooling1D(),
        )

    side = Side(adapter, make, {"x": words})
    weights = side.randomize()
    seen = side.see()
    assert names(seen) == [("a", "Embedding"), (seen.calls[1].layer, "GlobalAveragePooling1D")]
    assert seen.calls[0].settings["padding_index"] == 0
    assert seen.calls[1].settings["masked"] is True
    real = [weights["a/embeddings"][row[row > 0]].mean(0) for row in words]
    np.testing.assert_allclose(seen.arrays["output"], real)
    forced = {"0/output": seen.arrays["0/output"]}
    np.testing.assert_allclose(side.see(forced=forced).arrays["output"], real)


def test_training_has_the_sparse_gradients_of_an_embedding(keras: Any, adapter: Any) -> None:
    """Keras squares the parts of a sparse gradient before it adds them."""
    words = np.array([[1, 1], [1, 1]])

    def make() -> Any:
        model = functional(
            keras,
            words,
            keras.layers.Embedding(3, 1, name="a"),
            keras.layers.GlobalAveragePooling1D(),
        )
        adam = keras.optimizers.Adam(0.5, epsilon=1e-12)
        return {"model": model, "loss": lambda y, p: keras.ops.mean(p - y), "optimizer": adam}

    side = Side(adapter, make, {"x": words})
    targets = {"y": np.zeros((2, 1))}
    seen = side.see(training=True, targets=targets)
    gradient = seen.arrays["gradient/a/embeddings"]
    np.testing.assert_allclose(gradient, [[0], [1], [0]])
    before = side.weights()["a/embeddings"]
    dense = before - side.update([{"a/embeddings": gradient}]).weights[0]["a/embeddings"]
    sparse = before - side.train(side.inputs, targets, 1)[0]["a/embeddings"]
    np.testing.assert_allclose(dense[1], 0.5, rtol=1e-4)
    # Four equal parts: the root of the sum of squares is half the sum.
    np.testing.assert_allclose(sparse[1], 1.0, rtol=1e-4)


def test_a_mixed_policy_is_named(keras: Any, adapter: Any) -> None:
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(2, dtype="mixed_float16")
    model = keras.Model(inputs, keras.layers.Activation("softmax", dtype="float32")(dense(inputs)))
    built = adapter.Adapter({"model": model}, "native")
    description = built.description()
    assert (description.precision, description.dtype) == ("mixed_float16", "float32")
    seen = built.observe(built.inputs({"x": VECTORS.astype("float32")}), training=False)
    assert seen.arrays["0/output"].dtype == np.float16
    assert seen.arrays["output"].dtype == np.float32


def test_training_is_that_of_fit(keras: Any, adapter: Any) -> None:
    def make() -> Any:
        return functional(
            keras,
            VECTORS,
            keras.layers.Dense(4, activation="relu", kernel_regularizer="l2", name="a"),
            keras.layers.BatchNormalization(name="b"),
            keras.layers.Dense(3, name="c"),
        )

    def parts() -> Any:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return {"model": make(), "loss": loss, "optimizer": keras.optimizers.Adam(0.1)}

    y = np.array([0, 2, 1, 1])
    side = Side(adapter, parts, {"x": VECTORS})
    weights = side.randomize()
    with adapter.double_precision():
        other = parts()
        model = other["model"]
        model.set_weights(list(weights.values()))
        model.compile(other["optimizer"], other["loss"], run_eagerly=True)
        for _ in range(3):
            model.train_on_batch(VECTORS, y)
    trained, losses = side.train(side.inputs, {"y": y}, 3)
    assert len(losses) == 3
    for found, wanted in zip(trained.values(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_compiled_call_is_seen_line_by_line(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(2, name="dense")

        def build(self, shape: Any) -> None:
            self.dense.build(shape)

        @tf.function
        def call(self, x: Any) -> Any:
            return tf.nn.relu(self.dense(x))

    side = Side(adapter, Net, {"x": VECTORS})
    assert names(side.see()) == [("dense", "Dense"), ("", "tf.nn.relu")]
    assert not tf.config.functions_run_eagerly()
