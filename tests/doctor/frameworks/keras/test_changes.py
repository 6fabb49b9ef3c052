"""A changed model of Keras gives the numbers of a model that was written so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from triptych.doctor.frameworks.adapter import Unsupported
from triptych.doctor.observation import Change

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(1)
IMAGES = RNG.normal(size=(4, 7, 6, 2))
SEQUENCES = RNG.normal(size=(4, 4, 4))
VECTORS = RNG.normal(size=(4, 5))
WORDS = RNG.integers(0, 5, (4, 6))


def built(adapter: Any, parts: dict[str, Any], batch: Any) -> Any:
    side = adapter.Adapter(parts, "float64")
    side.inputs(batch)
    return side


def randomize(side: Any) -> None:
    rng = np.random.default_rng(2)
    side.load({name: rng.uniform(0.3, 1, array.shape) for name, array in side.weights().items()})


def chain(keras: Any, x: Any, make: Callable[[], Any]) -> Any:
    """A model of one layer, or of several in a list."""
    inputs = keras.Input(x.shape[1:], dtype="int32" if x.dtype.kind == "i" else None)
    outputs = inputs
    made = make()
    for layer in made if isinstance(made, list) else [made]:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def cases(keras: Any) -> dict[str, tuple[Any, Any, Any, Any]]:
    """By name: the input, the layer, its changes, and the layer that was written so."""
    layers = keras.layers
    activations = keras.activations

    def padding(*pads: tuple[int, int]) -> Any:
        return layers.ZeroPadding2D(pads)

    class Evaluated(layers.BatchNormalization):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(inputs, training=False, mask=mask)

    return {
        "epsilon": (
            VECTORS,
            lambda: layers.LayerNormalization(name="a"),
            {"epsilon": 0.5},
            lambda: layers.LayerNormalization(epsilon=0.5, name="a"),
        ),
        "momentum": (
            VECTORS,
            lambda: layers.BatchNormalization(name="a"),
            {"momentum": 0.25, "epsilon": 0.1},
            lambda: layers.BatchNormalization(momentum=0.75, epsilon=0.1, name="a"),
        ),
        "slope": (
            VECTORS,
            lambda: [layers.Dense(3, name="b"), layers.LeakyReLU(name="a")],
            {"slope": 0.5},
            lambda: [layers.Dense(3, name="b"), layers.LeakyReLU(0.5, name="a")],
        ),
        "alpha": (
            VECTORS,
            lambda: layers.ELU(name="a"),
            {"alpha": 2.0},
            lambda: layers.ELU(2.0, name="a"),
        ),
        "activation inside": (
            VECTORS,
            lambda: layers.Dense(3, activation="relu", name="a"),
            {"function": "tanh"},
            lambda: layers.Dense(3, activation="tanh", name="a"),
        ),
        "no activation": (
            VECTORS,
            lambda: layers.Dense(3, activation="softmax", name="a"),
            {"function": "linear"},
            lambda: layers.Dense(3, name="a"),
        ),
        "approximate": (
            VECTORS,
            lambda: layers.Dense(3, activation="gelu", name="a"),
            {"approximate": True},
            lambda: layers.Dense(3, activation=keras.ops.gelu, name="a"),
        ),
        "slope of an activation": (
            VECTORS,
            lambda: layers.Activation("leaky_relu", name="a"),
            {"slope": 0.01},
            lambda: layers.LeakyReLU(0.01, name="a"),
        ),
        "another activation": (
            VECTORS,
            lambda: layers.ReLU(name="a"),
            {"function": {"function": "elu", "alpha": 0.5}},
            lambda: layers.ELU(0.5, name="a"),
        ),
        "axis": (
            SEQUENCES,
            lambda: layers.Softmax(name="a"),
            {"axis": -2},
            lambda: layers.Softmax(axis=1, name="a"),
        ),
        "padding": (
            IMAGES,
            lambda: layers.Conv2D(3, 3, strides=2, padding="same", activation="relu", name="a"),
            {"padding": [[1, 1], [1, 1]]},
            lambda: [padding((1, 1), (1, 1)), layers.Conv2D(3, 3, 2, activation="relu", name="a")],
        ),
        "padding by name": (
            IMAGES,
            lambda: layers.DepthwiseConv2D(3, strides=2, name="a"),
            {"padding": "same"},
            lambda: layers.DepthwiseConv2D(3, strides=2, padding="same", name="a"),
        ),
        "cut": (
            IMAGES,
            lambda: layers.Conv2DTranspose(3, 3, 2, activation="relu", name="a"),
            {"padding": [[0, 1], [0, 1]]},
            lambda: layers.Conv2DTranspose(3, 3, 2, "same", activation="relu", name="a"),
        ),
        "strides": (
            IMAGES,
            lambda: layers.Conv2D(3, 3, name="a"),
            {"strides": [2, 2]},
            lambda: layers.Conv2D(3, 3, 2, name="a"),
        ),
        "dilation": (
            IMAGES,
            lambda: layers.Conv2D(3, 2, name="a"),
            {"dilation": [2, 2]},
            lambda: layers.Conv2D(3, 2, dilation_rate=2, name="a"),
        ),
        "count padding": (
            IMAGES,
            lambda: layers.AveragePooling2D(3, 1, "same", name="a"),
            {"count_padding": True},
            lambda: [padding((1, 1), (1, 1)), layers.AveragePooling2D(3, 1, name="a")],
        ),
        "average": (
            IMAGES,
            lambda: layers.AveragePooling2D(3, 1, name="a"),
            {"padding": [[1, 1], [1, 1]]},
            lambda: layers.AveragePooling2D(3, 1, "same", name="a"),
        ),
        "average twice": (
            IMAGES,
            lambda: layers.AveragePooling2D(3, 1, name="a"),
            {"padding": [[1, 1], [1, 1]], "count_padding": True},
            lambda: [padding((1, 1), (1, 1)), layers.AveragePooling2D(3, 1, name="a")],
        ),
        "maximum": (
            IMAGES,
            lambda: layers.MaxPooling2D(2, name="a"),
            {"padding": "same", "size": [3, 3], "strides": [3, 3]},
            lambda: layers.MaxPooling2D(3, padding="same", name="a"),
        ),
        "order": (
            IMAGES,
            lambda: [layers.Flatten(name="a"), layers.Dense(3, name="b")],
            {"order": "channels_first"},
            lambda: [
                layers.Permute((3, 1, 2)),
                layers.Flatten(name="a"),
                layers.Dense(3, name="b"),
            ],
        ),
        "batch first": (
            SEQUENCES,
            lambda: layers.LSTM(3, return_sequences=True, name="a"),
            {"batch_first": False},
            lambda: [
                layers.Lambda(lambda x: keras.ops.swapaxes(x, 0, 1)),
                layers.LSTM(3, return_sequences=True, name="a"),
                layers.Lambda(lambda x: keras.ops.swapaxes(x, 0, 1)),
            ],
        ),
        "gate": (
            SEQUENCES,
            lambda: layers.GRU(3, name="a"),
            {"recurrent_activation": "hard_sigmoid", "activation": "relu"},
            lambda: layers.GRU(3, "relu", "hard_sigmoid", name="a"),
        ),
        "reset gate": (
            SEQUENCES,
            lambda: layers.GRU(3, use_bias=False, reset_after=False, name="a"),
            {"reset_after": True},
            lambda: layers.GRU(3, use_bias=False, name="a"),
        ),
        "reset gates of both directions": (
            SEQUENCES,
            lambda: layers.Bidirectional(layers.GRU(3, use_bias=False), name="a"),
            {"reset_after": False},
            lambda: layers.Bidirectional(
                layers.GRU(3, use_bias=False, reset_after=False), name="a"
            ),
        ),
        "reverse": (
            SEQUENCES,
            lambda: layers.SimpleRNN(3, name="a"),
            {"reverse": True},
            lambda: layers.SimpleRNN(3, go_backwards=True, name="a"),
        ),
        "mask": (
            WORDS,
            lambda: [layers.Embedding(5, 3, name="a"), layers.GlobalAveragePooling1D()],
            {"padding_index": 0},
            lambda: [
                layers.Embedding(5, 3, mask_zero=True, name="a"),
                layers.GlobalAveragePooling1D(),
            ],
        ),
        "no mask": (
            WORDS,
            lambda: [
                layers.Embedding(5, 3, mask_zero=True, name="a"),
                layers.GlobalAveragePooling1D(),
            ],
            {"padding_index": None},
            lambda: [layers.Embedding(5, 3, name="a"), layers.GlobalAveragePooling1D()],
        ),
        "rescaling": (
            VECTORS,
            lambda: [layers.Rescaling(0.5, name="a"), layers.Dense(2, name="b")],
            {"scale": 2.0, "offset": -1.0},
            lambda: [layers.Rescaling(2.0, -1.0, name="a"), layers.Dense(2, name="b")],
        ),
        "interpolation": (
            IMAGES,
            lambda: layers.UpSampling2D(2, name="a"),
            {"interpolation": "bilinear"},
            lambda: layers.UpSampling2D(2, interpolation="bilinear", name="a"),
        ),
        "mode": (
            VECTORS,
            lambda: layers.BatchNormalization(name="a"),
            {"training": False},
            lambda: Evaluated(name="a"),
        ),
        "frozen": (
            VECTORS,
            lambda: [layers.Dense(3, name="a"), layers.Dense(2, name="b")],
            {"frozen": True},
            lambda: [layers.Dense(3, trainable=False, name="a"), layers.Dense(2, name="b")],
        ),
        "linear": (
            VECTORS,
            lambda: layers.Dense(3, activation=activations.softplus, name="a"),
            {"function": "softsign"},
            lambda: layers.Dense(3, activation=activations.softsign, name="a"),
        ),
    }


NAMES = (
    ("epsilon", "momentum", "slope", "alpha", "activation inside", "no activation", "approximate")
    + ("slope of an activation", "another activation", "axis", "padding", "padding by name")
    + ("cut", "strides", "dilation", "count padding", "average", "average twice", "maximum")
    + ("order", "batch first", "gate", "reset gate", "reset gates of both directions", "reverse")
    + ("mask", "no mask", "rescaling")
    + ("interpolation", "mode", "frozen", "linear")
)


def observed(side: Any, x: Any, y: Any) -> Any:
    inputs = side.inputs({"x": x})
    return [
        side.observe(inputs, training=training, targets={"y": y}).arrays
        for training in (False, True)
    ]


def results(arrays: Any) -> Any:
    """The model's output, the loss, the gradients of weights, and the buffers."""
    keep = ("output", "loss", "gradient/", "buffer/")
    return {name: array for name, array in arrays.items() if name.startswith(keep)}


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_layer_is_the_layer_that_was_written_so(
    keras: Any, adapter: Any, name: str
) -> None:
    x, make, changes, make_written = cases(keras)[name]
    with adapter.double_precision():
        loss = keras.losses.MeanSquaredError()
        plain = built(adapter, {"model": chain(keras, x, make), "loss": loss}, {"x": x})
        written = built(adapter, {"model": chain(keras, x, make_written), "loss": loss}, {"x": x})
        randomize(plain)
        written.load(plain.weights())
        y = RNG.normal(size=written.model.call.output.shape[1:])
        y = np.broadcast_to(y, (len(x), *y.shape))
        wanted = observed(written, x, y)
        try:
            before = observed(plain, x, plain_target(plain, y))
        except Exception as error:
            raise AssertionError(f"the plain model fails: {error}") from error
        plain.change([Change("layer", "a", each, value) for each, value in changes.items()])
        found = observed(plain, x, y)
        plain.restore()
        after = observed(plain, x, plain_target(plain, y))
    for one, other in zip(found, wanted, strict=True):
        assert results(one).keys() == results(other).keys()
        for part, array in results(other).items():
            np.testing.assert_allclose(one[part], array, rtol=1e-7, atol=1e-12, err_msg=part)
    changed = [
        part
        for one, other in zip(before, found, strict=True)
        for part, array in results(one).items()
        if part not in other
        or array.shape != other[part].shape
        or not np.allclose(array, other[part], rtol=1e-6)
    ]
    assert changed
    for one, other in zip(before, after, strict=True):
        for part, array in one.items():
            np.testing.assert_array_equal(array, other[part], err_msg=part)


def plain_target(side: Any, y: Any) -> Any:
    """Targets in the shape of the model's output, which a change may alter."""
    shape = (len(y), *side.model.call.output.shape[1:])
    return np.resize(y, shape)


def test_the_running_variance_of_pytorch(keras: Any, adapter: Any) -> None:
    with adapter.double_precision():
        model = chain(keras, VECTORS, lambda: keras.layers.BatchNormalization(name="a"))
        side = built(adapter, {"model": model}, {"x": VECTORS})
        side.change([Change("layer", "a", "unbiased_variance", True)])
        seen = side.observe(side.inputs({"x": VECTORS}), training=True)
        side.restore()
    expected = 0.99 + 0.01 * VECTORS.var(0, ddof=1)
    np.testing.assert_allclose(seen.arrays["buffer/a/variance"], expected, rtol=1e-9)


def test_functions_are_changed_by_the_number_of_their_call(keras: Any, adapter: Any) -> None:
    import tensorflow as tf

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.Dense(3, name="first")

        def build(self, shape: Any) -> None:
            self.first.build(shape)
            self.built = True

        def call(self, x: Any) -> Any:
            x = tf.nn.leaky_relu(self.first(x))
            return keras.ops.reshape(keras.ops.gelu(x), (-1, 3)) * 2.0

    def output(*changes: Change) -> Any:
        side.change(list(changes))
        result = side.observe(inputs, training=False).arrays["output"]
        side.restore()
        return result

    with adapter.double_precision():
        side = built(adapter, {"model": Net()}, {"x": VECTORS})
        randomize(side)
        weights = side.weights()
        inputs = side.inputs({"x": VECTORS})
        seen = side.observe(inputs, training=False)
        assert [call.name for call in seen.calls] == [
            "Dense",
            "tf.nn.leaky_relu",
            "ops.gelu",
            "ops.reshape",
            "*",
        ]
        hidden = VECTORS @ weights["first/kernel"] + weights["first/bias"]

        def expected(slope: float, approximate: bool) -> Any:
            x = np.where(hidden > 0, hidden, slope * hidden)
            return 2 * keras.ops.convert_to_tensor(keras.ops.gelu(x, approximate)).numpy()

        np.testing.assert_allclose(output(), expected(0.2, True), rtol=1e-7)
        slope = Change("function", "1", "slope", 0.5)
        exact = Change("function", "2", "approximate", False)
        np.testing.assert_allclose(output(slope), expected(0.5, True), rtol=1e-7)
        np.testing.assert_allclose(output(slope, exact), expected(0.5, False), rtol=1e-7)
        tanh = Change("function", "2", "function", "tanh")
        x = np.where(hidden > 0, hidden, 0.2 * hidden)
        np.testing.assert_allclose(output(tanh), 2 * np.tanh(x), rtol=1e-7)
        np.testing.assert_allclose(output(), expected(0.2, True), rtol=1e-7)
        with pytest.raises(Unsupported, match=r"the setting order of ops.gelu"):
            output(Change("function", "2", "order", "channels_first"))
        with pytest.raises(Unsupported, match="no call of a function"):
            output(Change("function", "0", "slope", 1.0))


# By the call of a layer of the user's, what takes its place.
INSIDE: list[tuple[Any, dict[str, Any], Any]] = [
    (lambda k, x: k.ops.mean(x, 1), {"function": "sum"}, lambda x: x.sum(1)),
    (lambda k, x: k.ops.var(x, axis=-1), {"unbiased": True}, lambda x: x.var(1, ddof=1)),
    (lambda k, x: k.ops.std(x, axis=1), {"unbiased": True}, lambda x: x.std(1, ddof=1)),
    (lambda k, x: k.ops.max(x, 0), {"axis": [-1]}, lambda x: x.max(-1)),
    (lambda k, x: 2.0 - x, {"offset": 5.0}, lambda x: 5 - x),
    (lambda k, x: k.ops.divide(x, 4.0), {"scale": 3.0}, lambda x: 3 * x),
    (
        lambda k, x: k.ops.sin(x),
        {"then": {"scale": 2.0, "offset": 1.0}},
        lambda x: 2 * np.sin(x) + 1,
    ),
    (lambda k, x: k.ops.sin(x), {"then": {"function": "tanh"}}, lambda x: np.tanh(np.sin(x))),
]


@pytest.mark.parametrize("place", range(len(INSIDE)))
def test_functions_inside_a_layer_of_the_user_s_are_changed(
    keras: Any, adapter: Any, place: int
) -> None:
    function, changes, expected = INSIDE[place]

    class Own(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

        def call(self, x: Any) -> Any:
            return function(keras, x) * self.gain

    with adapter.double_precision():
        model = keras.Sequential([keras.Input((5,)), Own(name="own")])
        side = built(adapter, {"model": model}, {"x": VECTORS})
        given = side.inputs({"x": VECTORS})
        seen = side.observe(given, training=False)
        assert [(call.layer, call.within) for call in seen.calls] == [
            ("own", None),
            ("", 0),
            ("", 0),
        ]
        side.change([Change("function", "1", *each) for each in changes.items()])
        after = side.observe(given, training=False).arrays["output"]
        side.restore()
        again = side.observe(given, training=False).arrays["output"]
        forced = side.observe(given, training=False, forced={"1/output": np.ones_like(again)})
    np.testing.assert_allclose(after, expected(np.float64(VECTORS)), rtol=1e-10)
    before = seen.arrays["output"]
    assert after.shape != before.shape or not np.allclose(after, before)
    np.testing.assert_array_equal(again, seen.arrays["output"])
    np.testing.assert_array_equal(forced.arrays["output"], np.ones_like(again))


def test_an_operation_of_a_functional_model_is_changed(keras: Any, adapter: Any) -> None:
    inputs = keras.Input((5,), dtype="float64")
    with adapter.double_precision():
        model = keras.Model(inputs, keras.ops.gelu(inputs))
        side = built(adapter, {"model": model}, {"x": VECTORS})
        given = side.inputs({"x": VECTORS})
        before = side.observe(given, training=False)
        side.change([Change("function", "0", "approximate", False)])
        after = side.observe(given, training=False)
        side.restore()
        again = side.observe(given, training=False)
        exact = keras.ops.gelu(VECTORS, approximate=False).numpy()
    np.testing.assert_allclose(after.arrays["output"], exact, rtol=1e-12)
    assert after.calls[0].settings["approximate"] is False
    assert np.max(np.abs(before.arrays["output"] - exact)) > 1e-5
    np.testing.assert_array_equal(again.arrays["output"], before.arrays["output"])


def regression(keras: Any, **parts: Any) -> Any:
    model = chain(keras, VECTORS, lambda: keras.layers.Dense(3, name="a"))
    return {"model": model, "loss": "mean_squared_error"} | parts


def gradients() -> Any:
    return {"a/kernel": RNG.normal(size=(5, 3)), "a/bias": RNG.normal(size=3)}


OPTIMIZERS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "rate": (lambda o: o.SGD(0.1), {"learning_rate": 0.5}, lambda o: o.SGD(0.5)),
    "momentum": (
        lambda o: o.SGD(0.1),
        {"momentum": 0.9, "nesterov": True},
        lambda o: o.SGD(0.1, momentum=0.9, nesterov=True),
    ),
    "clipping": (
        lambda o: o.SGD(0.1, clipnorm=1.0),
        {"clipnorm": None, "global_clipnorm": 1.0},
        lambda o: o.SGD(0.1, global_clipnorm=1.0),
    ),
    "epsilon": (lambda o: o.Adam(0.1), {"epsilon": 0.3}, lambda o: o.Adam(0.1, epsilon=0.3)),
    "decay": (lambda o: o.AdamW(0.1), {"weight_decay": 0.5}, lambda o: o.AdamW(0.1, 0.5)),
    "rho": (lambda o: o.RMSprop(0.1), {"rho": 0.5}, lambda o: o.RMSprop(0.1, 0.5)),
    "type": (lambda o: o.Adam(0.1, 0.8), {"type": "Adamax"}, lambda o: o.Adamax(0.1, 0.8)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_changed_optimizer_is_the_one_that_was_written_so(
    keras: Any, adapter: Any, name: str
) -> None:
    make, changes, make_written = OPTIMIZERS[name]
    steps = [gradients() for _ in range(3)]
    with adapter.double_precision():
        optimizers = keras.optimizers
        plain = built(adapter, regression(keras, optimizer=make(optimizers)), {"x": VECTORS})
        written = built(
            adapter, regression(keras, optimizer=make_written(optimizers)), {"x": VECTORS}
        )
        written.load(plain.weights())
        before = plain.update(steps)
        plain.change([Change("optimizer", "", each, value) for each, value in changes.items()])
        found = plain.update(steps)
        plain.restore()
        after = plain.update(steps)
        wanted = written.update(steps)
    for number in range(3):
        for each in ("a/kernel", "a/bias"):
            np.testing.assert_array_equal(found.weights[number][each], wanted.weights[number][each])
            np.testing.assert_array_equal(after.weights[number][each], before.weights[number][each])
    assert not np.allclose(before.weights[2]["a/kernel"], found.weights[2]["a/kernel"])


def test_a_schedule_is_changed(keras: Any, adapter: Any) -> None:
    schedules = keras.optimizers.schedules
    with adapter.double_precision():
        schedule = schedules.ExponentialDecay(1.0, 2, 0.5, staircase=True)
        optimizer = keras.optimizers.SGD(schedule)
        parts = regression(keras, optimizer=optimizer, schedule=schedule, steps_per_epoch=3)
        side = built(adapter, parts, {"x": VECTORS})
        assert side.rates(6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
        side.change([Change("schedule", "", "decay_steps", 1)])
        assert side.rates(4) == [1, 0.5, 0.25, 0.125]
        side.restore()
        side.change([Change("schedule", "", "unit", "epoch")])
        assert side.rates(7) == [1, 1, 1, 1, 1, 1, 0.5]
        updates = side.update([gradients() for _ in range(7)])
        assert list(updates.rates) == [1, 1, 1, 1, 1, 1, 0.5]
        side.restore()
        assert side.rates(3) == [1, 1, 0.5]


def loss_cases(keras: Any) -> dict[str, tuple[Any, dict[str, Any], Any]]:
    losses = keras.losses
    sparse = losses.SparseCategoricalCrossentropy
    return {
        "from_logits": (sparse(), {"from_logits": True}, sparse(from_logits=True)),
        "by name": (
            "sparse_categorical_crossentropy",
            {"from_logits": True},
            sparse(from_logits=True),
        ),
        "reduction": (
            sparse(from_logits=True),
            {"reduction": "sum"},
            sparse(from_logits=True, reduction="sum"),
        ),
        "softmax": (
            sparse(from_logits=True),
            {"wrap": "softmax"},
            lambda y, p: (
                -keras.ops.mean(
                    keras.ops.take_along_axis(
                        keras.ops.log_softmax(keras.ops.softmax(p)), y[:, None], axis=1
                    )
                )
            ),
        ),
        "scale": (sparse(from_logits=True), {"scale": 3.0}, lambda y, p: 3 * sparse(True)(y, p)),
        "function": (
            losses.sparse_categorical_crossentropy,
            {"from_logits": True},
            sparse(from_logits=True),
        ),
    }


@pytest.mark.parametrize(
    "name", ["from_logits", "by name", "reduction", "softmax", "scale", "function"]
)
def test_a_changed_loss_is_the_one_that_was_written_so(keras: Any, adapter: Any, name: str) -> None:
    outputs = {"output": np.random.default_rng(0).uniform(0.1, 0.9, (4, 3))}
    targets = {"y": np.array([0, 2, 1, 1])}
    with adapter.double_precision():
        loss, changes, written = loss_cases(keras)[name]
        plain = built(adapter, regression(keras, loss=loss), {"x": VECTORS})
        other = built(adapter, regression(keras, loss=written), {"x": VECTORS})
        before = plain.loss(outputs, targets)
        plain.change([Change("loss", "", each, value) for each, value in changes.items()])
        found = plain.loss(outputs, targets)
        plain.restore()
        after = plain.loss(outputs, targets)
        wanted = other.loss(outputs, targets)
    for part, array in wanted.items():
        np.testing.assert_allclose(found[part], array, rtol=1e-12)
        np.testing.assert_array_equal(before[part], after[part])
    assert abs(before["loss"] - found["loss"]) > 1e-3


def test_another_loss_and_the_shape_of_the_targets(keras: Any, adapter: Any) -> None:
    output = RNG.normal(size=(4, 1))
    target = RNG.normal(size=4)

    def broadcast(y: Any, p: Any) -> Any:
        return keras.ops.mean(keras.ops.square(p - y))

    with adapter.double_precision():
        side = built(adapter, regression(keras, loss=broadcast), {"x": VECTORS})
        wrong = side.loss({"output": output}, {"y": target})["loss"]
        side.change([Change("loss", "", "squeeze", True)])
        right = side.loss({"output": output}, {"y": target})["loss"]
        side.restore()
        side = built(adapter, regression(keras, loss=keras.losses.Huber()), {"x": VECTORS})
        side.change([Change("loss", "", "type", "MeanAbsoluteError")])
        other = side.loss({"output": output}, {"y": target[:, None]})["loss"]
    np.testing.assert_allclose(wrong, np.mean((output - target) ** 2))
    np.testing.assert_allclose(right, np.mean((output[:, 0] - target) ** 2))
    np.testing.assert_allclose(other, np.mean(np.abs(output[:, 0] - target)))


def test_a_changed_metric_and_preprocessing(keras: Any, adapter: Any) -> None:
    outputs = {"output": np.array([[-1.0], [0.3], [2.0], [-2.0]])}
    targets = {"y": np.array([[0], [1], [1], [0]])}
    with adapter.double_precision():
        metric = keras.metrics.BinaryAccuracy()
        parts = regression(keras, metric=metric, preprocess=lambda x: x + 1.0)
        side = built(adapter, parts, {"x": VECTORS})
        assert side.metric(outputs, targets) == 0.75
        side.change([Change("metric", "", "threshold", 0.0)])
        assert side.metric(outputs, targets) == 1.0
        side.restore()
        side.change([Change("metric", "", "wrap", "sigmoid")])
        assert side.metric(outputs, targets) == 1.0
        side.restore()
        assert side.metric(outputs, targets) == 0.75
        side.change([Change("preprocess", "", "scale", 2.0)])
        np.testing.assert_allclose(side.inputs({"x": VECTORS})["input"], 2 * (VECTORS + 1))
        side.restore()
        np.testing.assert_allclose(side.inputs({"x": VECTORS})["input"], VECTORS + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change("layer", "nothing", "epsilon", 1.0), "there is no layer nothing"),
        (Change("layer", "a", "epsilon", 1.0), "the setting epsilon of a .Dense. cannot be"),
        (Change("optimizer", "", "rho", 1.0), "SGD has no parameter rho"),
        (Change("optimizer", "", "type", "Nothing"), "has no optimizer Nothing"),
        (Change("loss", "", "delta", 1.0), "the loss has no parameter delta"),
        (Change("loss", "", "wrap", "nothing"), "the output cannot go through 'nothing'"),
        (Change("metric", "", "threshold", 1.0), "build.. returns no metric"),
        (Change("schedule", "", "decay_steps", 1), "build.. returns no schedule"),
        (Change("nothing", "", "", None), "nothing can be changed of the nothing"),
    ],
)
def test_what_cannot_be_changed_is_refused_and_nothing_is_changed(
    keras: Any, adapter: Any, change: Change, message: str
) -> None:
    with adapter.double_precision():
        parts = regression(keras, optimizer=keras.optimizers.SGD(0.5))
        side = built(adapter, parts, {"x": VECTORS})
        before = side.update([gradients()] * 2)
        with pytest.raises(Unsupported, match=message):
            side.change([Change("optimizer", "", "momentum", 0.9), change])
        assert side.update([gradients()] * 2).rates == before.rates
        assert not side.optimization.optimizer_settings


def test_a_gru_with_biases_keeps_its_reset_gate(keras: Any, adapter: Any) -> None:
    """Its biases have another shape with the other gate."""
    with adapter.double_precision():
        model = chain(keras, SEQUENCES, lambda: keras.layers.GRU(3, name="a"))
        side = built(adapter, {"model": model}, {"x": SEQUENCES})
        with pytest.raises(Unsupported, match=r"reset_after of a \(GRU\) cannot be"):
            side.change([Change("layer", "a", "reset_after", False)])


@pytest.mark.parametrize("index", [0, None])
def test_the_mask_of_a_sequential_model_can_be_taken_away(
    keras: Any, adapter: Any, index: int | None
) -> None:
    """Its graph is made again with each layer that is added."""
    layers = keras.layers
    with adapter.double_precision():
        model = keras.Sequential([keras.Input((6,), dtype="int32")])
        for layer in (
            layers.Embedding(5, 3, mask_zero=True, name="a"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, name="b"),
            layers.Dense(2, name="c"),
        ):
            model.add(layer)
        side = built(adapter, {"model": model}, {"x": WORDS})
        randomize(side)
        weights = side.weights()
        side.change([Change("layer", "a", "padding_index", index)])
        output = side.observe(side.inputs({"x": WORDS}), training=False).arrays["output"]
    shown = np.ones(WORDS.shape) if index is None else (WORDS != 0).astype(float)
    embedded = weights["a/embeddings"][WORDS]
    mean = (embedded * shown[..., None]).sum(1) / shown.sum(1, keepdims=True)
    expected = mean @ weights["b/kernel"] + weights["b/bias"]
    expected = expected @ weights["c/kernel"] + weights["c/bias"]
    np.testing.assert_allclose(output, expected, rtol=1e-9)
