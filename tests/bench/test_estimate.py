"""The estimate of a comparison's length."""

from dataclasses import replace

import pytest

from triptych.bench import estimate as estimates
from triptych.bench.contestants import Settings
from triptych.bench.estimate import estimate
from triptych.core.selection import specs
from triptych.spec.recipe import Recipe
from triptych.spec.zoo import dense


class Clock:
    """Counts samples instead of seconds: a step takes 2 s, and a tenth of a second a sample."""

    def __init__(self) -> None:
        self.now = 0.0
        self.samples: list[int] = []

    def run(self, data, plan) -> None:
        self.samples.append(len(data))
        self.now += 2 + 0.1 * len(data)

    def load(self, state) -> None: ...

    def upload(self, split):
        return split


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(estimates.registry, "create", lambda *_: made)
    monkeypatch.setattr(estimates.time, "perf_counter", lambda: made.now)
    return made


def settings(digits) -> Settings:
    network = dense("small", [8], shape=digits.shape, classes=10)
    return Settings(network, Recipe(100), specs(["numpy"]))


def test_a_heavy_step_is_not_made_and_its_time_is_right(clock, digits, monkeypatch):
    """From two small steps the time of the whole batch follows exactly: it is linear here."""
    whole = estimate(digits, settings(digits))
    assert max(clock.samples) == len(digits.train)
    clock.samples.clear()
    network = settings(digits).network
    monkeypatch.setattr(estimates, "HEAVY_MULTIPLICATIONS", 8 * 20 * network.multiplications)
    assert estimate(digits, settings(digits)) == pytest.approx(whole)
    assert clock.samples == [20, 20, 80, 80]


def test_more_epochs_and_rows_take_longer(clock, digits):
    one = settings(digits)
    step = 2 + 0.1 * len(digits.train)
    longer = replace(one, recipe=replace(one.recipe, epochs=300))
    assert estimate(digits, longer) - estimate(digits, one) == pytest.approx(
        200 * step * (1 + estimates.TWINS)
    )
    assert estimate(digits, replace(one, rows=specs(["torch"]))) > estimate(digits, one)
