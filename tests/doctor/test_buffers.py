"""The stage of the running statistics of BatchNorm."""

from dataclasses import replace

import numpy as np
from support.doctor_sides import compared, optimized

from triptych.doctor.examination import Examination, Pair
from triptych.doctor.observation import Call, Layer, Observation
from triptych.doctor.stages import buffers

FEATURES = 6


def normalised(
    a_momentum: float,
    b_momentum: float,
    *,
    rows: int = 64,
    b_unbiased: bool = False,
    order: tuple[int, ...] | None = None,
) -> Examination:
    """Return two sides with a BatchNorm; A is as PyTorch, with an unbiased variance."""
    rng = np.random.default_rng(0)
    values = rng.normal(2, 3, (rows, FEATURES))
    before = {"bn/mean": rng.normal(size=FEATURES), "bn/variance": rng.uniform(1, 2, FEATURES)}
    batch = {"bn/mean": values.mean(0), "bn/variance": values.var(0)}

    def after(momentum: float, unbiased: bool) -> dict[str, np.ndarray]:
        factor = rows / (rows - 1) if unbiased else 1.0
        scale = {"bn/mean": 1.0, "bn/variance": factor}
        return {
            f"buffer/{name}": (1 - momentum) * before[name] + momentum * scale[name] * batch[name]
            for name in before
        }

    examination = compared(optimized("A", "torch", "SGD"), optimized("B", "keras", "SGD"))
    examination.a_weights = before
    layers = [Layer("bn", name, "batch_norm") for name in ("BatchNorm1d", "BatchNormalization")]
    pair = Pair(layers[0], layers[1], (0,), (0,), input_order=order, output_order=order)
    examination.alignment = replace(examination.alignment, pairs=(pair,))
    call = Call(0, "bn", "BatchNorm", "batch_norm", anchor=True)
    b_after = after(b_momentum, b_unbiased)
    if order is not None:
        b_after = {name: array[list(order)] for name, array in b_after.items()}
    a_arrays = {"0/input": values, **after(a_momentum, True)}
    examination.a_training = Observation((call,), a_arrays)
    examination.b_training = Observation((call,), b_after)
    return examination


def test_equal_momenta_acquit_the_unbiased_variance() -> None:
    result = buffers.examine(normalised(0.1, 0.1))
    assert not result.findings
    assert [each.cause for each in result.acquitted] == ["D20"]
    assert not buffers.examine(normalised(0.1, 0.1, b_unbiased=True)).acquitted


def test_a_momentum_read_the_other_way_round() -> None:
    (finding,) = buffers.examine(normalised(0.99, 0.01)).findings
    assert finding.cause == "D19"
    assert finding.layer == {"a": "bn", "b": "bn"}
    assert finding.values["a"] == "momentum=0.99, the weight of the new value"
    assert finding.values["b"] == "momentum=0.99, the weight of the old value"
    assert "1 minus the other" in finding.evidence
    assert finding.fix["a"] == "nn.BatchNorm1d(momentum=0.01)"
    assert finding.proved


def test_the_order_of_features_is_taken_into_account() -> None:
    assert not buffers.examine(normalised(0.1, 0.1, order=(2, 0, 1, 5, 4, 3))).findings


def test_few_values_make_the_unbiased_variance_a_finding() -> None:
    (finding,) = buffers.examine(normalised(0.1, 0.1, rows=8)).findings
    assert finding.cause == "D20"
    assert abs(finding.effect["variance"] - 1 / 7) < 1e-12
