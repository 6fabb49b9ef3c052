"""No speed without parity, here too: which rows compute in float32 what the reference computes."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from ..core import state
from ..parity import float32
from ..process.client import Remote
from ..spec import zoo
from .timer import Case, Stopwatch

CASE = Case.of(zoo.dense("proof", [128, 64]), 64)


def prove(watch: Stopwatch) -> Iterator[tuple[str, str | None]]:
    """Judge every row's steps by `triptych.parity.float32`; yield its key, and why it is not proved, or None."""
    split, schedule, start = (
        watch.split(CASE),
        CASE.schedule(1),
        state.initial(CASE.network, CASE.recipe),
    )
    with closing(Remote("numpy", "eager")) as numpy:
        numpy.greet()
        reference, own = (
            numpy.build(name, CASE.network, CASE.recipe) for name in ("reference", "own")
        )
        exact = numpy.build("exact", CASE.network, replace(CASE.recipe, dtype="float64"))
        yardstick = float32.shared_steps(reference, exact, own, split, schedule, start)
        for timer in watch.timers:
            errors: list[float] | None = None
            with timer.reckoned():
                errors = float32.shared_steps(
                    reference, exact, timer.build(CASE), split, schedule, start
                )
            if errors:
                found = float32.judge(errors, yardstick, True)
                far = f"its float32 steps are {found.factor:.1f} times as far from the exact ones as NumPy's own; at most 4 is rounding"
                yield timer.spec.key, None if found.verdict == "rounding" else far
