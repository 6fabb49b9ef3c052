"""The benchmark that judges the advice: it is right where the truth is what was planted, and wrong
where it is not.
"""

from dataclasses import replace

import pytest
from support.planted import NUMPY, TORCH, calibrated, costs, seconds

from benchmarks import advise
from benchmarks.advise import Advise, Score, drawn
from benchmarks.timing import Settings
from triptych.advise import calibration
from triptych.advise.advice import Advisor
from triptych.advise.calibration import Sample
from triptych.advise.sampling import LARGEST

ROWS = {NUMPY: costs(1e-5, 4e-10, 2e-11), TORCH: costs(2e-4, 1e-10, 2e-12)}
WORKLOAD = Advise("planted", networks=40)


def judged(truth: dict) -> Score:
    samples = [
        Sample(case, {spec.key: seconds(case, planted) for spec, planted in truth.items()})
        for case in map(drawn, range(40))
    ]
    return advise.score(WORKLOAD, "advise", 1, Advisor(calibrated(ROWS)), samples)


def test_advice_that_is_right_beats_both_trivial_answers():
    score = judged(ROWS)
    assert score.ok
    assert score.right["advise"] >= 39 > max(score.right["numpy"], score.right["torch"])
    assert score.sure_right == score.sure > 20
    assert score.miss < 0.03
    lines = "\n".join(score.text())
    assert f"{score.right['advise']} of 40; at least 95% are wanted" in lines
    assert "always numpy" in lines
    assert score.entries()[0]["right"] == score.right


def test_advice_of_another_machine_is_seen_to_be_wrong():
    swapped = judged({NUMPY: ROWS[TORCH], TORCH: ROWS[NUMPY]})
    assert not swapped.ok
    assert swapped.right["advise"] < 20
    slower = judged({spec: 1.3 * planted for spec, planted in ROWS.items()})
    assert slower.right["advise"] >= 39
    assert slower.miss == pytest.approx(0.3 / 1.3, abs=0.02)
    assert not slower.ok


def test_only_proved_default_rows_are_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    calibration.save(replace(calibrated(ROWS), unproved={"torch": "reduced"}), calibration.path(1))
    asked = []
    monkeypatch.setattr(
        advise,
        "timed",
        lambda rows, threads, networks: (
            asked.append((rows, threads)) or [Sample(drawn(0), {"numpy": 1.0})]
        ),
    )
    (score,) = WORKLOAD.measure("advise", Settings())
    assert asked == [([NUMPY], 1)]
    assert score.ok is False  # a second a step is not what was planted


def test_without_a_calibration_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    (answer,) = WORKLOAD.measure("advise", Settings(threads=2))
    assert not answer.ok
    assert list(answer.text()) == [
        "advise: this machine is not calibrated for 2 threads; run: triptych map --threads 2"
    ]
    assert answer.entries() == []


def test_networks_are_drawn_alike_and_of_every_kind():
    cases = list(map(drawn, range(100)))
    assert cases == list(map(drawn, range(100)))
    assert all(case.operations <= LARGEST for case in cases)
    assert 25 <= sum(case.products("convolution") != [] for case in cases) <= 60
    assert {case.recipe.optimizer.name for case in cases} == {"sgd", "adam", "adamw", "rmsprop"}
    assert min(case.batch for case in cases) < 5
    assert max(case.batch for case in cases) > 1000
