"""Which functions inside two layers belong together, and where the layers part."""

from typing import Any

import numpy as np

from triptych.doctor.inside import call_text, inner_hypotheses, locate
from triptych.doctor.observation import Call
from triptych.doctor.suspects import Result, figures_of, suspects

RNG = np.random.default_rng(6)
X = RNG.normal(size=(5, 4))


def result(number: int, kind: str, output: Any, **settings: Any) -> Result:
    call = Call(number, "", f"{kind}{number}", kind, settings, within=0)
    return Result(call, output, figures_of(output))


def rescaled(number: int, x: Any, scale: float = 1.0, offset: float = 0.0) -> Result:
    return result(number, "rescaling", scale * x + offset, scale=scale, offset=offset)


def reduced(number: int, output: Any, function: str) -> Result:
    return result(number, "reduction", output, function=function, axis=[-1], keepdims=True)


def tried(a: list[Result], b: list[Result]) -> list[tuple[str, Any, Any]]:
    found = inner_hypotheses(a, b, suspects(a, b, X, 1e-6))
    return [(each.kind, dict(each.values), each.changes) for each in found]


def test_an_epsilon_is_that_of_the_normalisation_that_adds_it() -> None:
    variance = X.var(-1, keepdims=True)
    a = [reduced(1, variance, "variance"), rescaled(2, variance, offset=1e-5)]
    b = [reduced(1, variance, "variance"), rescaled(2, variance, offset=1e-3)]
    kind, values, (change,) = tried(a, b)[0]
    assert (kind, values) == ("layer_norm", {"epsilon": (1e-5, 1e-3)})
    assert (change.path, change.setting, change.value) == ("2", "offset", 1e-5)
    squares = np.square(X).mean(-1, keepdims=True)
    a = [reduced(1, squares, "mean"), rescaled(2, squares, offset=1e-6)]
    b = [reduced(1, squares, "mean"), rescaled(2, squares, offset=1e-5)]
    assert tried(a, b)[0][0] == "rms_norm"


def test_a_factor_that_b_lacks_is_put_where_b_has_what_it_takes() -> None:
    scores = X @ X.T
    a = [result(1, "function", scores), rescaled(2, scores, 0.5)]
    b = [result(3, "function", scores)]
    weights = np.exp(scores)
    a.append(result(3, "activation", weights**0.5, function="softmax", axis=-1))
    b.append(result(4, "activation", weights, function="softmax", axis=-1))
    last = [each for each in tried(a, b) if each[0] == "scores"]
    _, values, (change,) = last[0]
    assert values == {"scale": (0.5, 1.0)}
    assert (change.path, change.setting) == ("3", "then")
    assert change.value == {"scale": 0.5, "offset": 0.0}


def test_layers_part_at_the_first_call_that_mends_them() -> None:
    a = [rescaled(1, X, 2.0), result(2, "function", X**2), result(3, "function", X**4)]
    b = [rescaled(1, X, 2.0), result(2, "function", X**3), result(3, "function", X**6)]
    asked: list[tuple[int, int]] = []

    def remaining(one: Result, other: Result) -> float:
        asked.append((one.call.number, other.call.number))
        return 0.0 if asked[-1] == (2, 2) else 1.0

    found = locate(a, b, X, 1e-6, remaining, 1e-9)
    assert found is not None
    assert asked == [(2, 2)]
    assert found.texts == ("function2", "function2")
    np.testing.assert_array_equal(found.known[-1], 2 * X)
    assert locate(a, b, X, 1e-6, lambda one, other: 1.0, 1e-9) is None


def test_arithmetic_is_written_as_such() -> None:
    assert call_text(rescaled(1, X, offset=1e-5).call) == "+ 1e-5"
    assert call_text(rescaled(1, X, 0.5).call) == "* 0.5"
    assert call_text(reduced(1, X, "mean").call) == "reduction1(axis=-1)"
