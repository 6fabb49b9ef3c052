"""What is planted in a calibration is what the advice says."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planted import COMPILED, NUMPY, TORCH, calibrated, costs, seconds

from benchmarks.advise import drawn
from triptych.advise import model
from triptych.advise.advice import Advice, Advisor
from triptych.advise.sampling import cases
from triptych.advise.workload import Case
from triptych.errors import TriptychError
from triptych.spec import zoo
from triptych.spec.layers import GELU

SLOW_CALLS, SLOW_SUMS = (
    costs(2e-4, 1e-10, 2e-12),
    costs(1e-5, 4e-10, 2e-11),
)  # who wins where networks are large, and where they are small


@pytest.fixture(scope="module")
def both() -> Advisor:
    """An advisor for two rows: one with slow sums, the other with slow calls."""
    return Advisor(calibrated({NUMPY: SLOW_SUMS, TORCH: SLOW_CALLS}))


def asked(advisor: Advisor, case: Case) -> Advice:
    return advisor.advise(case)


def test_planted_costs_foretell_networks_that_were_never_timed(both: Advisor):
    inside, misses = 0, list[float]()
    for case in map(drawn, range(40)):
        for estimate in asked(both, case).estimates:
            truth = seconds(case, SLOW_SUMS if estimate.key == "numpy" else SLOW_CALLS)
            inside += estimate.interval[0] <= truth <= estimate.interval[1]
            misses.append(abs(np.log(estimate.seconds / truth)))
            assert sum(estimate.shares.values()) == pytest.approx(1)
    assert np.median(misses) < 0.03  # the noise is 0.02
    assert inside >= 0.8 * len(misses)


def test_shares_are_the_planted_ones(both: Advisor):
    case = Case.of(zoo.get("custom"), 256, "adam")
    amount = model.amounts(case)
    parts = SLOW_CALLS * amount
    truth = {share: parts[model.IS_OF[share]].sum() / parts.sum() for share in model.SHARES}
    (found,) = (e.shares for e in asked(both, case).estimates if e.key == "torch")
    assert all(found[share] == pytest.approx(truth[share], abs=0.05) for share in model.SHARES)


def test_the_crossover_is_where_it_was_planted(both: Advisor):
    small, large = Case.of(zoo.dense("small", [10]), 1), Case.of(zoo.dense("large", [1024]), 4096)
    assert asked(both, small).fastest == ["numpy"]
    assert asked(both, large).fastest == ["torch"]


def test_where_two_rows_differ_by_less_than_the_noise_both_may_be_the_fastest():
    alike = Advisor(calibrated({NUMPY: SLOW_SUMS, TORCH: 1.01 * SLOW_SUMS}, noise=0.1))
    assert set(asked(alike, Case.of(zoo.get("custom"), 64)).fastest) == {"numpy", "torch"}


def test_a_row_that_is_not_proved_is_never_the_fastest():
    advisor = Advisor(
        replace(
            calibrated({NUMPY: 2 * SLOW_SUMS, TORCH: SLOW_SUMS}),
            unproved={"torch": "computes something else"},
        )
    )
    advice = asked(advisor, Case.of(zoo.get("custom"), 64))
    assert advice.fastest == ["numpy"]
    assert [(e.key, e.barred) for e in advice.estimates] == [
        ("torch", "computes something else"),
        ("numpy", None),
    ]


def test_a_row_of_which_too_little_is_known_is_never_the_fastest():
    advisor = Advisor(
        calibrated({NUMPY: SLOW_SUMS}).joined(calibrated({TORCH: 0.5 * SLOW_SUMS}, noise=1.0))
    )
    assert advisor.barred.keys() == {"torch"}
    assert "too little is known" in advisor.barred["torch"]
    assert asked(advisor, Case.of(zoo.get("custom"), 64)).fastest == ["numpy"]


def test_what_a_row_had_no_time_for_is_taken_from_another_of_its_engine():
    advisor = Advisor(
        calibrated(
            {NUMPY: SLOW_SUMS, TORCH: SLOW_CALLS, COMPILED: 0.5 * SLOW_CALLS}, timed={COMPILED: 6}
        )
    )
    misses = [
        np.log(estimate.seconds / seconds(case, 0.5 * SLOW_CALLS))
        for case in map(drawn, range(30))
        for estimate in asked(advisor, case).estimates
        if estimate.key == "torch-compiled"
    ]
    assert np.median(np.abs(misses)) < 0.1


def amounts(networks: int) -> np.ndarray:
    return np.array([model.amounts(case) for case in islice(cases(), networks)])


def test_a_few_disturbed_times_do_not_matter():
    rows = amounts(60)
    truth = rows @ SLOW_SUMS
    disturbed = truth.copy()
    disturbed[::15] *= 5
    fit = model.fit(rows, disturbed)
    assert np.quantile(np.abs(np.log(fit.predict(rows)[0] / truth)), 0.9) < 0.1
    assert (fit.costs >= 0).all()
    without_noise = model.fit(rows, truth).residuals  # of networks that were left out
    assert np.quantile(np.abs(without_noise), 0.8) < 1e-3


def test_what_the_sum_misses_is_learnt_from_networks_that_are_made_up_alike():
    rows = amounts(120)
    parts = rows * SLOW_CALLS
    calls = parts[:, model.IS_OF["overhead"]].sum(axis=1) / parts.sum(axis=1)
    truth = parts.sum(axis=1) * np.exp(0.3 * np.sin(6 * calls))  # no sum of costs is that
    seen = np.arange(120) % 10 != 0
    fit = model.fit(rows[seen], truth[seen])
    new = rows[~seen]
    sums = np.abs(np.log(new @ fit.costs / truth[~seen])).mean()
    learnt = np.abs(np.log(fit.predict(new)[0] / truth[~seen])).mean()
    assert learnt < 0.6 * sums


def test_intervals_cover_new_networks_and_grow_with_the_noise():
    rows = amounts(160)
    widths: list[float] = []
    for noise in (0.02, 0.2):
        truth = rows @ SLOW_SUMS * np.random.default_rng(0).lognormal(0, noise, len(rows))
        fit = model.fit(rows[:120], truth[:120])
        predicted, deviations = fit.predict(rows[120:])
        inside = np.abs(np.log(predicted / truth[120:])) <= model.DEVIATIONS * deviations
        assert inside.mean() >= 0.75
        widths.append(float(np.median(deviations)))
    assert widths[0] < 0.08
    assert widths[1] > 3 * widths[0]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=50), st.floats(0.05, 1))
def test_a_quantile_covers_its_share(errors: list[float], share: float):
    found = model.quantile(np.array(errors), share)
    assert found in np.abs(errors)
    assert np.mean(np.abs(errors) <= found) >= share - 1e-9


def test_layers_that_were_never_timed_are_named(both: Advisor):
    network = zoo.dense("n", [8])
    unheard = replace(network, layers=(*network.layers[:2], GELU("g"), network.layers[-1]))
    assert both.unknown(Case.of(unheard, 1)) == ["GELU"]


def test_too_little_is_no_calibration():
    with pytest.raises(
        TriptychError,
        match="too little was timed to know any row; give triptych map more --minutes",
    ):
        Advisor(calibrated({NUMPY: SLOW_SUMS}, networks=3))
