"""The safety net: whole training steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.doctor_sides import SHAPES, NumpySide, compared, optimized

from triptych.doctor.carrying import Carried
from triptych.doctor.examination import Examination, Pair, Result
from triptych.doctor.findings import Finding
from triptych.doctor.observation import Array, Call, Layer, Observation
from triptych.doctor.stages import training

TARGETS = {"y": np.zeros(4)}
RATE = 1e-3


def sides() -> tuple[NumpySide, NumpySide]:
    a = optimized("A", "torch", "Adam", rate=RATE, eps=1e-12)
    b = optimized("B", "keras", "Adam", rate=RATE, epsilon=1e-12)
    for each in (a, b):
        each.trained = {name: w - 0.01 for name, w in each.start.items()}
    return a, b


def test_equal_trainings_have_no_finding() -> None:
    a, b = sides()
    b.trained = {name: w * (1 + 1e-9) for name, w in b.trained.items()}
    result = training.examine(compared(a, b, targets=TARGETS))
    assert not result.findings
    assert 0 < result.largest < result.bound


def test_a_difference_that_no_stage_has_found_is_undecided() -> None:
    a, b = sides()
    b.trained["hidden/bias"] = b.trained["hidden/bias"] + 0.005
    examination = compared(a, b, targets=TARGETS)
    (finding,) = training.examine(examination).findings
    assert finding.cause is None
    assert not finding.proved
    assert finding.effect["training"] == pytest.approx(0.5)
    # Where a stage has found a difference, the weights differ because of it.
    examination.results["loss"] = Result((Finding("loss", "D38", "Softmax twice"),))
    assert not training.examine(examination).findings


def test_gradients_that_are_rounding_do_not_count() -> None:
    a, b = sides()
    b.trained["hidden/bias"] = b.trained["hidden/bias"] + 0.005
    examination = compared(a, b, targets=TARGETS)
    arrays = dict(examination.a_training.arrays)
    bias = np.full(SHAPES["hidden/bias"], 1e-18)
    bias[0] = 1.0
    arrays["gradient/hidden/bias"] = bias
    b.trained["hidden/bias"][0] = a.trained["hidden/bias"][0]
    examination.a_training = Observation(examination.a_training.calls, arrays)
    assert not training.examine(examination).findings


WORDS = np.array([[0, 1, 1, 2], [3, 1, 4, 2]])


def embedded(step: Any, words: Array = WORDS, *, cancelling: bool = False) -> Examination:
    """Return two sides with an embedding; `step` makes B's first step of sums and squares.

    Where they are `cancelling`, the pieces of a word's gradient have both signs.
    """
    rng = np.random.default_rng(0)
    pieces = rng.normal(size=(*words.shape, 3))
    if not cancelling:
        pieces = np.abs(pieces) + 0.5
    table = rng.normal(size=(6, 3))
    total = np.zeros((6, 3))
    squares = np.zeros((6, 3))
    np.add.at(total, words, pieces)
    np.add.at(squares, words, pieces**2)
    a, b = sides()
    name = "embed/embeddings"
    for each in (a, b):
        each.start = {name: table}
    a.trained = {name: table - 10 * RATE * np.sign(total)}

    def moved(inputs: Any, targets: Any, steps: int, dtype: str = "native") -> Any:
        return {name: table + steps * step(total, squares)}, [0.0] * steps

    b.train = moved  # type: ignore[method-assign]
    examination = compared(a, b, targets=TARGETS)
    layer = Layer("embed", "Embedding", "embedding", roles=("embeddings",))
    examination.alignment = replace(
        examination.alignment,
        pairs=(Pair(layer, layer, (0,), (0,)),),
        carriages=(Carried(name, name, table.shape, table.shape),),
    )
    call = Call(0, "embed", "Embedding", "embedding", anchor=True)
    arrays = {"0/input": words, "0/output_gradient": pieces, f"gradient/{name}": total}
    examination.a_training = Observation((call,), arrays)
    examination.b_training = Observation((call,), {f"gradient/{name}": total})
    return examination


def of_pieces(total: Array, squares: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.nan_to_num(-RATE * total / np.sqrt(squares))


WORDS_THAT_ALL_OCCUR_AGAIN = np.array([[0, 1, 1, 2], [3, 1, 0, 3], [2, 3, 4, 4]])


@pytest.mark.parametrize("words", [WORDS, WORDS_THAT_ALL_OCCUR_AGAIN])
@pytest.mark.parametrize("cancelling", [False, True])
def test_squared_pieces_of_an_embedding(words: Array, cancelling: bool) -> None:
    (finding,) = training.examine(embedded(of_pieces, words, cancelling=cancelling)).findings
    assert finding.cause == "D95"
    assert finding.proved
    assert finding.values == {"a": "adds, then squares", "b": "squares the pieces, then adds"}


def test_another_step_of_an_embedding_has_no_name() -> None:
    def other(total: Array, squares: Array) -> Array:
        return -1.5 * RATE * np.sign(total)

    (finding,) = training.examine(embedded(other)).findings
    assert finding.cause is None
