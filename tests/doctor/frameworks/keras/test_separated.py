"""Keras' attention layer that is seen as four dense layers computes what it did."""

from typing import Any

import numpy as np
import pytest

from triptych.doctor.frameworks.adapter import Unsupported

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 8))
TARGETS = {"y": RNG.normal(size=(3, 5, 8))}
PARTS = ("query", "key", "value", "output")


def test_four_dense_layers_make_the_same_outputs_and_gradients(keras: Any, adapter: Any) -> None:
    inputs = keras.Input((5, 8))
    layer = keras.layers.MultiHeadAttention(2, 4, name="attention")
    model = keras.Model(inputs, layer(inputs, inputs, use_causal_mask=True))
    whole = adapter.Adapter({"model": model, "loss": "mse"}, "native")
    batch = {"x": X.astype(np.float32)}
    given = whole.inputs(batch)
    whole.load({name: RNG.normal(size=w.shape) for name, w in whole.weights().items()})
    before = whole.observe(given, training=True, targets=TARGETS).arrays
    parts = adapter.Adapter({"model": model, "loss": "mse"}, "native")
    parts.inputs(batch)
    parts.separate(["attention"])
    seen = parts.observe(given, training=True, targets=TARGETS)
    assert {call.layer for call in seen.anchors} == {f"attention.{name}" for name in PARTS}
    np.testing.assert_array_equal(seen.arrays["output"], before["output"])
    for name in PARTS:
        for role in ("kernel", "bias"):
            np.testing.assert_allclose(
                seen.arrays[f"gradient/attention.{name}/{role}"],
                before[f"gradient/attention/{name}_{role}"],
                rtol=1e-5,
                atol=1e-7,
            )
    kernel = np.asarray(layer.key_dense.kernel).reshape(8, 8)
    np.testing.assert_array_equal(parts.weights()["attention.key/kernel"], kernel)
    with pytest.raises(Unsupported, match="no attention layer attention"):
        parts.separate(["attention"])
