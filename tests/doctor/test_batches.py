"""The batches of an epoch: their size, the last one, and the order of the samples."""

from collections.abc import Callable

import numpy as np
import pytest
from support.fake_side import FakeSide, dense, examined

from triptych.doctor.findings import Finding
from triptych.doctor.observation import Array, Arrays

GENERATOR = np.random.default_rng(3)
BATCH = {"x": GENERATOR.normal(size=(23, 4)), "y": GENERATOR.normal(size=(23, 2))}
SIZE = 5

Loader = Callable[[Arrays, str], list[Arrays]]


def in_order(order: Array, size: int = SIZE) -> list[Arrays]:
    """Return the batches of an order of the samples."""
    starts = range(0, len(order), size)
    return [{name: x[order[s : s + size]] for name, x in BATCH.items()} for s in starts]


def seeded(seed: int, size: int = SIZE, drop: bool = False) -> Loader:
    """Return a loader that draws one order again and again."""

    def load(batch: Arrays, dtype: str) -> list[Arrays]:
        batches = in_order(np.random.default_rng(seed).permutation(len(batch["x"])), size)
        return batches[:-1] if drop else batches

    return load


def going_on(seed: int) -> Loader:
    """Return a loader of which every build has a generator that goes on from epoch to epoch."""
    generators = {dtype: np.random.default_rng(seed) for dtype in ("native", "float64")}
    return lambda batch, dtype: in_order(generators[dtype].permutation(len(batch["x"])))


def by_chance(seed: int) -> Loader:
    """Return a loader that gives no seed: its two builds go on with the same numbers."""
    generator = np.random.default_rng(seed)
    return lambda batch, dtype: in_order(generator.permutation(len(batch["x"])))


def as_given(batch: Arrays, dtype: str) -> list[Arrays]:
    return in_order(np.arange(len(batch["x"])))


def found(a: Loader, b: Loader) -> tuple[Finding, ...]:
    given = ("model", "batches")
    sides = (
        FakeSide("A", "torch", [dense("a", 4, 2, 1)], given=given, loader=a),
        FakeSide("B", "keras", [dense("b", 4, 2, 1)], given=given, loader=b),
    )
    return examined(*sides, BATCH, ["data"]).results["data"].findings


@pytest.mark.parametrize(
    ("a", "b"),
    [(as_given, as_given), (seeded(0), seeded(0)), (going_on(4), going_on(4))],
    ids=["as given", "one seed", "generators that go on"],
)
def test_equal_orders_are_no_finding(a: Loader, b: Loader) -> None:
    assert found(a, b) == ()


@pytest.mark.parametrize("loader", [seeded, going_on])
def test_two_seeds_are_found(loader: Callable[[int], Loader]) -> None:
    (finding,) = found(loader(0), loader(7))
    assert (finding.stage, finding.cause, finding.proved) == ("data", None, True)
    first = np.random.default_rng(0).permutation(23)[:5]
    other = np.random.default_rng(7).permutation(23)[:5]
    assert finding.values["a"] == ", ".join([*map(str, first), "…"])
    assert finding.values["b"] == ", ".join([*map(str, other), "…"])
    assert finding.fix["a"] == finding.fix["b"]
    assert "permutation(len(x))" in str(finding.fix["a"])


def test_orders_that_chance_draws_are_no_finding() -> None:
    assert found(by_chance(1), by_chance(2)) == ()
    assert found(seeded(0), by_chance(1)) == ()
    assert found(by_chance(1), seeded(0)) == ()


def test_a_shuffle_on_one_side_is_found_whether_or_not_it_has_a_seed() -> None:
    for loader in (seeded(0), by_chance(1)):
        (finding,) = found(as_given, loader)
        assert (finding.stage, finding.cause) == ("data", "D80")


def test_a_last_batch_that_is_left_out_is_the_only_finding() -> None:
    (finding,) = found(seeded(0), seeded(0, drop=True))
    assert finding.cause == "D80"
    assert finding.values["a"] == "5 batches, the last of 3"


def test_another_size_and_another_seed_are_two_findings() -> None:
    size, order = found(seeded(0), seeded(7, size=8))
    assert (size.cause, size.values) == ("D80", {"a": 5, "b": 8})
    assert order.cause is None
