"""The tape of Keras' JAX backend, against the gradients that JAX itself computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")
pytest.importorskip("keras")
from jax import numpy as jnp  # noqa: E402

from triptych.doctor.frameworks.keras.backends.jax import Tape, new_tensor  # noqa: E402

pytestmark = pytest.mark.framework

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(4, 3)).astype(np.float32)
W = GENERATOR.normal(size=(3, 3)).astype(np.float32)


@jax.custom_vjp
def doubled_back(x: Any) -> Any:
    """Return the input; hand back the double of its gradient."""
    return x


doubled_back.defvjp(lambda x: (x, None), lambda _, gradient: (2 * gradient,))


def recurrent(x: Any, w: Any) -> Any:
    def step(state: Any, row: Any) -> tuple[Any, Any]:
        state = jnp.tanh(state @ w + row)
        return state, state

    return jax.lax.scan(step, jnp.zeros(3), x)[1].sum()


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "a product": lambda x, w: (x @ w).sum(),
    "an array that is used twice": lambda x, w: ((x @ w) * (x @ w + w.sum())).mean(),
    "a rule of its own, forward": lambda x, w: (jax.nn.relu(x @ w) ** 2).sum(),
    "a rule of its own, backward": lambda x, w: (doubled_back(x @ w) ** 2).sum(),
    "whole numbers between": lambda x, w: (x @ w)[jnp.argmax(x @ w, 0)].sum(),
    "compiled": jax.jit(lambda x, w: jnp.where(x @ w > 0, x @ w, 0.1).sum()),
    "compiled, an argument is returned": lambda x, w: (
        jax.jit(lambda a, b: (b, a * 2))(x, w)[0] * w
    ).sum(),
    "a loop": recurrent,
    "a pool of maxima": lambda x, w: (
        jax.lax.reduce_window(x @ w, -jnp.inf, jax.lax.max, (2, 2), (2, 1), "VALID") ** 2
    ).sum(),
    "mapped": lambda x, w: jax.vmap(lambda row: jax.nn.softmax(row @ w)[0])(x).sum(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_jax(name: str) -> None:
    x, w = jnp.asarray(X), jnp.asarray(W)
    function = FUNCTIONS[name]
    with Tape() as tape:
        result = function(x, w)
    expected = jax.grad(function, (0, 1))(x, w)
    for actual, wanted in zip(tape.gradients(result, [x, w]), expected, strict=True):
        given = np.zeros_like(wanted) if actual is None else actual
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)
    assert np.abs(expected[1]).max() > 0.01


def test_a_new_tensor_has_the_gradient_of_its_own_use() -> None:
    x = jnp.asarray(X)
    with Tape() as tape:
        taken = new_tensor(x)
        result = (3 * taken).sum() + (5 * x).sum()
    first, second = tape.gradients(result, [taken, x])
    np.testing.assert_array_equal(first, np.full_like(X, 3))
    np.testing.assert_array_equal(second, np.full_like(X, 8))


def test_what_is_not_used_has_no_gradient() -> None:
    x, w = jnp.asarray(X), jnp.asarray(W)
    with Tape() as tape:
        result = jnp.sin(x).sum() + jax.lax.stop_gradient(w).sum()
    assert tape.gradients(x.sum(), [x]) == [None]  # computed after the recording
    first, second = tape.gradients(result, [x, w])
    np.testing.assert_allclose(first, np.cos(X), rtol=1e-5)
    assert second is None or not np.any(second)


def test_double_precision_has_gradients_in_it() -> None:
    with jax.enable_x64(True):
        x = jnp.asarray(X.astype(np.float64))
        with Tape() as tape:
            result = (x**3).sum()
        (gradient,) = tape.gradients(result, [x])
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, 3 * X.astype(np.float64) ** 2, rtol=1e-14)
