from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.errors import SpecError
from triptych.optimizers import SGD, SHORTHANDS, Adam, RMSprop, optimizer
from triptych.recipe import Recipe

fractions = st.floats(0, 0.999)
positive = st.floats(1e-12, 10)


def test_the_defaults_are_the_originals():
    assert Recipe() == Recipe(500, "full", SGD(0.1, 0.0, False), 0, "float32", "matched")


@given(
    st.one_of(
        st.builds(SGD, positive, fractions),
        st.builds(Adam, positive, fractions, fractions, positive),
        st.builds(RMSprop, positive, fractions, positive),
    ),
    st.integers(1, 9999),
    st.one_of(st.just("full"), st.integers(1, 99999)),
    st.sampled_from(["float32", "float64"]),
)
def test_json_gives_the_same_recipe_back(chosen, epochs: int, batch, dtype):
    recipe = Recipe(epochs, batch, chosen, 3, dtype)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_shorthands():
    assert optimizer("nesterov", 0.05) == SGD(0.05, 0.9, True)
    assert optimizer("adam").rate == 1e-3
    assert set(SHORTHANDS) == {"sgd", "momentum", "nesterov", "adam", "rmsprop"}
    assert [optimizer(name).slots for name in SHORTHANDS] == [(), ("velocity",), ("velocity",), ("m", "v"), ("v",)]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: optimizer("adamm"), "did you mean 'adam'"),
        (lambda: SGD(float("nan")), "finite"),
        (lambda: SGD(-1.0), "positive, not -1"),
        (lambda: SGD(0.1, 1.0), r"momentum must be in \[0, 1\)"),
        (lambda: SGD(0.1, 0.0, True), "needs a momentum"),
        (lambda: SGD("0.1"), "finite number, not '0.1'"),
        (lambda: Adam(epsilon=0.0), "epsilon must be positive"),
        (lambda: Recipe(epochs=0), "epochs must be a whole number of at least 1"),
        (lambda: Recipe(batch_size=2.5), "batch_size"),
        (lambda: Recipe(dtype="float16"), "known: float32, float64|did you mean"),
        (lambda: Recipe.from_json(Recipe().to_json() | {"epoch": 3}), "did you mean 'epochs'"),
        (lambda: Recipe.from_json(Recipe().to_json() | {"optimizer": {"name": "sdg"}}), "did you mean 'sgd'"),
        (lambda: Recipe.from_json(Recipe().to_json() | {"optimizer": "sgd"}), "unknown"),
        (lambda: replace(Recipe(), seed=-1), "seed"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(build, says: str):
    with pytest.raises(SpecError, match=says):
        build()
