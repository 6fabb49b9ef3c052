"""No speed without parity, here too: which rows compute in float32 what the reference computes."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace

from ..core import registry, state
from ..errors import EngineError
from ..parity.float32 import LARGEST_FACTOR, Rounding, judge_float32, step_errors
from ..process.client import Remote
from ..spec import zoo
from .timer import Timer, planner, random_split
from .workload import Case

CASE = Case.of(zoo.dense("proof", [128, 64]), 64)


def prove(timers: list[Timer]) -> Iterator[tuple[str, str | None]]:
    """Judge the float32 steps of every row.

    Yields
    ------
    tuple of (str, str or None)
        The key of the row, and why it is not proved, or None if it is.
    """
    split = random_split(CASE)
    start = state.initial(CASE.network, CASE.recipe)
    with closing(Remote(registry.REFERENCE, "eager")) as numpy:
        numpy.greet()
        reference = numpy.build("reference", CASE.network, CASE.recipe)
        exact = numpy.build("exact", CASE.network, replace(CASE.recipe, dtype="float64"))
        for timer in timers:
            with suppress(EngineError):
                with timer.attempt():
                    engine = timer.build(CASE)
                    errors = list(
                        step_errors(reference, exact, engine, split, planner(CASE), start)
                    )
                yield timer.spec.key, _reason(judge_float32(errors, proved=True))


def _reason(rounding: Rounding) -> str | None:
    """Return why a row is not proved, or None if it is."""
    if rounding.verdict == "rounding":
        return None
    return (
        f"the error of its float32 steps is {rounding.factor:.1f} times NumPy's; "
        f"at most {LARGEST_FACTOR:g} is rounding"
    )
