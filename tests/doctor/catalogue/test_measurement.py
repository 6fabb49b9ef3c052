"""The checks run, their values are the recorded ones, and a change is reported."""

import pkgutil
from dataclasses import replace
from typing import Any

import pytest

from triptych.doctor import catalogue
from triptych.doctor.catalogue import measurement
from triptych.doctor.catalogue.checks.registry import CHECKS
from triptych.doctor.catalogue.entry import Value
from triptych.doctor.catalogue.measurement import Change, Measurement, agrees, changes, measure
from triptych.doctor.catalogue.worker import plain
from triptych.errors import EngineError

SLOPE = catalogue.get("D26")
EXP = catalogue.get("D89")


def measured(**changed: Value) -> Measurement:
    return Measurement(dict(SLOPE.recorded) | changed)


@pytest.mark.parametrize(
    ("recorded", "other", "expected"),
    [
        (0.01, 0.01000000001, True),
        (0.01, 0.0101, False),
        (0.0, 1e-300, False),
        (0.0, -0.0, True),
        (44, 44, True),
        (44, 45, False),
        (True, True, True),
        (True, 1, False),
        (False, 0.0, False),
        ("nan", "nan", True),
        ("nan", 0.0, False),
        ([4, 7, 10], [4, 7, 10], True),
        ([4, 7, 10], [4, 7], False),
        ([4, 7, 10], [4, 7, 11], False),
        ([4.0], 4.0, False),
    ],
)
def test_values_agree_up_to_the_tolerance(recorded: Value, other: Value, expected: bool):
    assert agrees(recorded, other, 1e-4) is expected
    assert agrees(other, recorded, 1e-4) is expected


def test_nothing_changed_where_all_values_are_as_recorded():
    assert changes(SLOPE, measured()) == []


def test_a_changed_default_is_reported():
    assert changes(SLOPE, measured(torch=0.02)) == [Change("D26", "torch", 0.01, 0.02)]


def test_a_value_that_is_no_longer_measured_is_reported():
    partly = measured()
    del partly.values["keras.layers"]
    assert changes(SLOPE, partly) == [Change("D26", "keras.layers", 0.3, None)]


def test_a_package_that_is_not_installed_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measurement, "find_spec", lambda name: None)
    partly = measured()
    del partly.values["jax.nn"]
    assert changes(SLOPE, partly) == []
    assert changes(SLOPE, Measurement(missing="keras")) == []


def test_a_check_that_fails_is_reported():
    failed = Measurement(error="TypeError: unexpected keyword")
    assert changes(SLOPE, failed) == [Change("D26", "", None, "TypeError: unexpected keyword")]


def test_what_depends_on_the_processor_is_not_judged():
    assert not EXP.portable
    assert changes(EXP, Measurement({"torch": 0.0, "tf": 1.0})) == []
    assert changes(replace(EXP, portable=True), Measurement({"torch": 0.0, "tf": 1.0}))


def test_without_a_framework_nothing_can_be_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measurement, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="neither PyTorch nor Keras is installed"):
        measurement.require_a_framework()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.framework
def test_every_difference_is_measured_as_recorded():
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    entries = list(catalogue.entries().values())
    seen: list[str] = []
    results = measure(entries, lambda entry: seen.append(entry.id))
    assert set(seen) == set(catalogue.entries())
    for entry in entries:
        assert results[entry.id].missing is None, entry.id
        assert changes(entry, results[entry.id]) == []
        assert set(results[entry.id].values) <= set(entry.recorded), entry.id
        assert len(results[entry.id].values) >= 1


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.framework
def test_one_difference_alone_has_the_values_that_it_has_among_others():
    """The random numbers of a check do not depend on the checks before it."""
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    entry = catalogue.get("D87")
    result = measure([entry])["D87"]
    assert result.values["torch"] == entry.recorded["torch"]
    assert result.values["keras"] == [8, 9]


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # TensorFlow's
@pytest.mark.parametrize(
    ("identifier", "name", "path", "defaults", "expected"),
    [
        ("D26", "torch", "torch.nn:LeakyReLU", (0.02,), 0.02),
        ("D26", "keras.layers", "keras.layers:LeakyReLU", (0.05,), 0.05),
        ("D23", "torch eps", "torch.nn:LayerNorm", (1e-2,), 1e-2),
        ("D53", "keras", "keras.optimizers:SGD", (0.05,), 0.05),
        ("D46", "torch", "torch.optim:Adam", (1e-3, (0.9, 0.999), 1e-4), 1e-4),
    ],
)
def test_a_check_sees_a_default_that_changes(
    identifier: str,
    name: str,
    path: str,
    defaults: tuple[Any, ...],
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
):
    """The defaults of the installed class are replaced, and the check measures the new ones."""
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    constructor = pkgutil.resolve_name(path).__init__
    rest = constructor.__defaults__[len(defaults) :]
    monkeypatch.setattr(constructor, "__defaults__", (*defaults, *rest))
    entry = catalogue.get(identifier)
    values = {key: plain(value) for key, value in CHECKS[identifier]().items()}
    measured = {change.name: change.measured for change in changes(entry, Measurement(values))}
    assert measured[name] == pytest.approx(expected)
