"""No speed without parity, here too: which rows compute in float32 what the reference computes."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from ..core import registry, state
from ..parity.float32 import LARGEST_FACTOR, Rounding, judge_float32, step_errors
from ..process.client import Remote
from ..spec import zoo
from .timer import Case, Stopwatch

CASE = Case.of(zoo.dense("proof", [128, 64]), 64)


def prove(watch: Stopwatch) -> Iterator[tuple[str, str | None]]:
    """Judge the float32 steps of every row.

    Yields
    ------
    tuple of (str, str or None)
        The key of the row, and why it is not proved, or None if it is.
    """
    split = watch.split(CASE)
    planner = CASE.planner(1)
    start = state.initial(CASE.network, CASE.recipe)
    with closing(Remote(registry.REFERENCE, "eager")) as numpy:
        numpy.greet()
        reference = numpy.build("reference", CASE.network, CASE.recipe)
        exact = numpy.build("exact", CASE.network, replace(CASE.recipe, dtype="float64"))
        for timer in watch.timers:
            rounding: Rounding | None = None
            with timer.attempt():
                engine = timer.build(CASE)
                errors = step_errors(reference, exact, engine, split, planner, start)
                rounding = judge_float32(errors, proved=True)
            if rounding:
                yield timer.spec.key, _reason(rounding)


def _reason(rounding: Rounding) -> str | None:
    """Return why a row is not proved, or None if it is."""
    if rounding.verdict == "rounding":
        return None
    return (
        f"the error of its float32 steps is {rounding.factor:.1f} times NumPy's; "
        f"at most {LARGEST_FACTOR:g} is rounding"
    )
