"""The stage of the metrics."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from support.doctor_sides import compared, optimized

from triptych.doctor.findings import Finding
from triptych.doctor.frameworks.adapter import Unsupported
from triptych.doctor.observation import Array, Arrays, Component
from triptych.doctor.stages import metric

ROWS = 50
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(ROWS, 1))
BITS = RNG.integers(0, 2, ROWS).astype(np.float64)
SCORES = RNG.normal(size=(ROWS, 7))
LABELS = RNG.integers(0, 7, ROWS)

Metric = Callable[[Array, Array], float]


def found(
    a: Metric,
    b: Metric,
    outputs: Array,
    targets: Array,
    *,
    recorded: bool = False,
    b_outputs: Array | None = None,
) -> list[Finding]:
    """Return the findings of two metrics; a recorded side A knows one value only."""
    given = ("model", "metric")
    sides = [
        optimized("A", "torch", "SGD", given=given),
        optimized("B", "keras", "SGD", given=given),
    ]
    for each in sides:
        component = Component("BinaryAccuracy", {})
        each.described = replace(each.described, metric=component, batch_size=16)

    def of_a(values: Arrays, wanted: Arrays) -> float:
        if recorded and not np.array_equal(wanted["y"], targets):
            raise Unsupported("not recorded")
        return a(values["output"], wanted["y"])

    sides[0].of_metric = of_a
    sides[1].of_metric = lambda values, wanted: b(values["output"], wanted["y"])
    arrays: Arrays = {"output": outputs}
    of_b: Arrays = arrays if b_outputs is None else {"output": b_outputs}
    comparison = compared(*sides, a_arrays=arrays, b_arrays=of_b, targets={"y": targets})
    return list(metric.examine(comparison).findings)


def at(threshold: float) -> Metric:
    return lambda o, y: float(np.mean((o[:, 0] > threshold) == (y > 0.5)))


def test_equal_metrics() -> None:
    assert not found(at(0.0), at(0.0), LOGITS, BITS)


def test_a_threshold_of_probabilities_for_logits() -> None:
    (finding,) = found(at(0.0), at(0.5), LOGITS, BITS)
    assert finding.cause == "D84"
    assert finding.proved
    assert finding.fix["b"] == "keras.metrics.BinaryAccuracy(threshold=0)"


def test_a_threshold_of_0_is_meant_for_logits_whatever_their_range() -> None:
    (finding,) = found(at(0.5), at(0.0), 0.5 + 0.4 * np.tanh(LOGITS), BITS)
    assert finding.cause == "D84"


def test_one_threshold_for_logits_and_for_their_probabilities() -> None:
    probabilities = 1 / (1 + np.exp(-LOGITS))
    (finding,) = found(at(0.5), at(0.5), LOGITS, BITS, b_outputs=probabilities)
    assert (finding.cause, finding.proved) == ("D84", True)
    assert finding.fix["a"]
    assert finding.fix["b"] is None
    (finding,) = found(at(0.5), at(0.5), probabilities, BITS, b_outputs=LOGITS)
    assert finding.fix == {"a": None, "b": "keras.metrics.BinaryAccuracy(threshold=0.0)"}
    assert not found(at(0.0), at(0.5), LOGITS, BITS, b_outputs=probabilities)
    (finding,) = found(at(0.5), at(0.5), LOGITS, BITS, b_outputs=LOGITS**2)
    assert finding.cause is None


def test_a_threshold_that_the_outputs_of_a_new_model_do_not_show() -> None:
    beyond = np.where(LOGITS > 0, LOGITS + 0.6, LOGITS)
    assert at(0.0)(beyond, BITS) == at(0.5)(beyond, BITS)
    (finding,) = found(at(0.0), at(0.5), beyond, BITS)
    assert finding.cause == "D84"
    assert finding.proved


def test_a_threshold_of_probabilities_that_are_all_small() -> None:
    small = 0.3 + 0.01 * np.tanh(LOGITS)
    assert not found(at(0.5), at(0.5), small, BITS)
    assert len(found(at(0.5), at(0.6), small, BITS)) == 1


def test_probabilities_stay_between_0_and_1() -> None:
    def entropy(o: Array, y: Array) -> float:
        return float(-np.mean(np.log(np.where(y > 0.5, o[:, 0], 1 - o[:, 0]))))

    def clipped(o: Array, y: Array) -> float:
        return entropy(o.clip(1e-7, 1 - 1e-7), y)

    assert not found(entropy, clipped, 0.3 + 0.01 * np.tanh(LOGITS), BITS)


def test_a_recorded_side_answers_once() -> None:
    (finding,) = found(at(0.0), at(0.5), LOGITS, BITS, recorded=True)
    assert finding.cause == "D84"


def test_a_mean_over_batches_of_different_sizes() -> None:
    def right(o: Array, y: Array) -> float:
        return float(np.mean(o.argmax(1) == y))

    def of_batches(o: Array, y: Array) -> float:
        starts = range(0, ROWS, 16)
        return float(np.mean([right(o[s : s + 16], y[s : s + 16]) for s in starts]))

    (finding,) = found(right, of_batches, SCORES, LABELS)
    assert finding.cause == "D82"


def test_metrics_without_a_number() -> None:
    def right(o: Array, y: Array) -> float:
        return float(np.mean(o.argmax(1) == y))

    def top(o: Array, y: Array) -> float:
        return float(np.mean([label in np.argsort(-row)[:3] for row, label in zip(o, y)]))  # noqa: B905

    (finding,) = found(right, top, SCORES, LABELS)
    assert finding.cause is None
    assert "3 largest" in finding.values["b"]
    assert finding.proved
    numbers = RNG.normal(size=ROWS)

    def squared(o: Array, y: Array) -> float:
        return float(np.mean((o[:, 0] - y) ** 2))

    def root(o: Array, y: Array) -> float:
        return float(np.sqrt(squared(o, y)))

    (finding,) = found(squared, root, LOGITS, numbers)
    assert finding.title == (
        "Another metric: mean squared error against root of the mean squared error"
    )


def test_an_unknown_metric() -> None:
    (finding,) = found(at(0.0), lambda o, y: float(o.sum() + y @ o[:, 0]), LOGITS, BITS)
    assert finding.cause is None
    assert not finding.proved
