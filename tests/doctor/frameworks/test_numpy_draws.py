"""Random numbers of NumPy are followed to the masks that are made of them."""

# ruff: noqa: NPY002 - users draw from NumPy's old functions

import copy
from typing import Any

import numpy as np
import pytest

from triptych.doctor.frameworks.draws import Draw
from triptych.doctor.frameworks.numpy_draws import NumpyDraws, seeded

SHAPE = (3, 4)


def in_place(keep: float) -> Any:
    mask = np.random.rand(*SHAPE)
    mask += keep
    np.floor(mask, out=mask)
    mask *= np.ones(SHAPE)
    return mask


def followed(model: Any, namespaces: Any = ()) -> tuple[Any, list[Draw]]:
    told: list[Draw] = []
    draws = NumpyDraws(told.append)
    with draws.followed(namespaces):
        made = model()
    return made, told


@pytest.mark.parametrize(
    ("mask", "share"),
    [
        (lambda: (np.random.rand(*SHAPE) > 0.3).astype(np.float32), 0.7),
        (lambda: (np.random.random(SHAPE) < 0.25) * np.ones(SHAPE, np.float32), 0.25),
        (lambda: np.floor(0.6 + np.random.uniform(size=SHAPE)).astype(np.float32), 0.6),
        (lambda: (~(np.random.uniform(-1, 1, SHAPE) >= 0.5)).astype("float64"), 0.75),
        (lambda: in_place(0.6), 0.6),
        (lambda: np.random.binomial(1, 0.9, SHAPE), 0.9),
        (lambda: (np.random.default_rng(0).random(SHAPE) > 0.2)[:, :1] * np.ones(SHAPE), 0.8),
        (lambda: np.where(np.random.rand(*SHAPE) > 0.6, np.ones(SHAPE), np.zeros(SHAPE)), 0.4),
    ],
)
def test_a_mask_becomes_its_share_of_ones(mask: Any, share: float) -> None:
    made, told = followed(mask)
    np.testing.assert_allclose(made, np.full(SHAPE, share), rtol=1e-6)
    assert [draw.settings for draw in told] == [{"rate": pytest.approx(1 - share), "active": True}]


def test_noise_becomes_its_mean() -> None:
    made, told = followed(lambda: np.random.normal(0.5, 2.0, SHAPE))
    np.testing.assert_array_equal(made, np.full(SHAPE, 0.5))
    assert [(draw.source, draw.settings) for draw in told] == [
        ("np.random.normal", {"active": True})
    ]


def test_a_generator_that_the_user_holds_is_followed() -> None:
    holder = {"rng": np.random.default_rng(3), "draw": np.random.rand}
    made, told = followed(
        lambda: (holder["rng"].random(SHAPE) > 0.5) * (holder["draw"](*SHAPE) > 0.5) * 1.0,
        [holder],
    )
    np.testing.assert_array_equal(made, np.full(SHAPE, 0.25))
    assert [draw.source for draw in told] == ["Generator.random", "np.random.rand"]
    assert isinstance(holder["rng"], np.random.Generator)
    assert type(np.random.rand(2)) is np.ndarray


def test_what_has_no_mean_stays_random_and_is_told_once() -> None:
    def model() -> Any:
        return [np.random.permutation(50), np.random.permutation(50), np.random.rand()]

    (first, second, _), told = followed(model)
    assert (first != second).any()
    assert [(draw.source, draw.settings) for draw in told] == [
        ("np.random.permutation", {"active": True, "random": True}),
        ("np.random.rand", {"active": True, "random": True}),
    ]


def test_numbers_that_were_written_over_are_no_longer_known() -> None:
    def model() -> Any:
        numbers = np.random.rand(50)
        numbers[numbers < 0.5] = 0.0
        return (numbers > 0.3) * np.ones(50)

    made, told = followed(model)
    assert set(np.asarray(made)) == {0.0, 1.0}
    assert told == []


def test_a_followed_generator_is_one_for_the_users_code() -> None:
    holder = {"rng": np.random.default_rng(3)}

    def model() -> Any:
        rng = np.random.default_rng(holder["rng"])
        copied = copy.deepcopy(rng)
        assert isinstance(copied, np.random.Generator)
        return rng.random(4) - copied.random(4)

    made, _ = followed(model, [holder])
    np.testing.assert_array_equal(made, np.zeros(4))


def test_draws_are_the_same_with_one_seed_and_go_on_afterwards() -> None:
    np.random.seed(1)
    with seeded(0):
        first = np.random.rand(3)
    with seeded(0):
        np.testing.assert_array_equal(np.random.rand(3), first)
    after = np.random.rand()
    np.random.seed(1)
    assert np.random.rand() == after
