"""Random tensors that are followed: the means of masks, against the shares of many numbers."""

from typing import Any

import numpy as np
import pytest

from triptych.doctor.frameworks.draws import Draw, Draws

NUMBERS = np.random.default_rng(0).uniform(size=200_000)

FUNCTIONS = {
    "gt": lambda a, b: a > b,
    "lt": lambda a, b: a < b,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "floor": np.floor,
    "not": np.logical_not,
}


def filled(tensor: Any, value: float, like: Any) -> Any:
    return np.full(tensor.shape, value)


def draws(told: list[Draw] | None = None) -> Draws:
    return Draws(
        lambda value: isinstance(value, np.ndarray),
        lambda array: array.dtype.kind == "f",
        filled,
        ([] if told is None else told).append,
    )


def follow(followed: Draws, name: str, *args: Any) -> Any:
    """Compute what a recorder would: with the arguments' means, and noting the result."""
    used = followed.arguments(name, args)
    return followed.result(name, used, FUNCTIONS[name](*used))


@pytest.mark.parametrize(
    "steps",
    [
        [("gt", "draw", 0.3)],
        [("lt", "draw", 0.3)],
        [("lt", 0.3, "draw")],
        [("gt", "draw", 0.3), ("not", "draw")],
        [("add", 0.8, "draw"), ("floor", "draw")],
        [("sub", 1.0, "draw"), ("gt", "draw", 0.6)],
        [("mul", "draw", 4.0), ("sub", "draw", 1.0), ("gt", "draw", 2.0)],
        [("div", "draw", -2.0), ("lt", "draw", -0.1)],
    ],
)
def test_the_share_of_a_mask_is_that_of_many_numbers(steps: list[tuple[Any, ...]]) -> None:
    followed = draws()
    drawn = NUMBERS.copy()
    followed.drawn("rand", drawn)
    for name, *args in steps:
        drawn = follow(followed, name, *[drawn if each == "draw" else each for each in args])
    draw = followed.of(drawn)
    assert draw is not None
    assert draw.share == pytest.approx(drawn.mean(), abs=0.005)


def test_a_mask_that_meets_numbers_is_its_share_and_told_once() -> None:
    told: list[Draw] = []
    followed = draws(told)
    drawn = NUMBERS.copy()
    followed.drawn("torch.rand", drawn)
    mask = follow(followed, "gt", drawn, 0.25)
    x = np.arange(NUMBERS.size, dtype=float)
    np.testing.assert_array_equal(follow(followed, "mul", x, mask), 0.75 * x)
    mask = follow(followed, "gt", drawn, 0.25)
    np.testing.assert_array_equal(followed.blended("where", (mask, x, 2 * x)), 1.25 * x)
    np.testing.assert_array_equal(followed.blended("masked_fill", (x, mask, 0.0)), 0.25 * x)
    assert [(each.source, each.settings) for each in told] == [
        ("torch.rand", {"rate": 0.25, "active": True})
    ]


def test_numbers_that_are_added_and_make_no_mask_stay_random() -> None:
    told: list[Draw] = []
    followed = draws(told)
    drawn = 2 * NUMBERS
    followed.drawn("rand", drawn, 0.0, 2.0)
    x = np.ones(NUMBERS.size)
    np.testing.assert_array_equal(follow(followed, "add", x, drawn), x + drawn)
    assert not told


def test_what_else_is_done_with_a_draw_stays_random() -> None:
    followed = draws()
    drawn = NUMBERS.copy()
    followed.drawn("rand", drawn)
    order = followed.result("argsort", (drawn,), np.argsort(drawn))
    assert followed.of(order) is None
    other = NUMBERS[::-1].copy()
    followed.drawn("rand", other)
    assert followed.of(follow(followed, "gt", drawn, other)) is None
    # A value that is not finite has no mean with another.
    mask = follow(followed, "gt", drawn, 0.5)
    assert followed.blended("masked_fill", (NUMBERS, mask, -np.inf)) is None
