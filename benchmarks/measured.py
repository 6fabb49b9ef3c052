"""From a race to a workload's figures: times, ranks, the floor, and the kernels that were used."""

from collections.abc import Mapping
from dataclasses import replace

from triptych.parity.float32 import Rounding
from triptych.process.client import Remote

from .contestants import Contestant, Raced, described, processes_that_tell, running
from .floor import Floor, Work
from .peers.registry import PEERS
from .timing import Line, Rank, Timing


def timing_of(
    empty: Timing,
    contestants: list[Contestant],
    raced: Raced,
    roundings: Mapping[str, Rounding],
    work: Work,
) -> Timing:
    """Return a timing with its lines, its floor and its failures.

    Parameters
    ----------
    empty : Timing
        Without them.
    contestants : list of Contestant
        Also those that failed.
    raced : Raced
        What was timed.
    roundings : mapping of str to Rounding
        By key, the float32 verdict; without one, a contestant is not ranked.
    work : Work
        What one step must compute and move.
    """
    processes = processes_that_tell(contestants)
    return replace(
        empty,
        lines=[
            Line(
                contestant.key,
                described(contestant.spec),
                contestant.key not in PEERS,
                raced.seconds(contestant.key),
                rank(roundings.get(contestant.key)),
            )
            for contestant in running(contestants)
        ],
        floor=measured_floor(processes, work),
        kernels=kernels(processes),
        failed=[
            f"{contestant.key}: {contestant.failure}"
            for contestant in contestants
            if contestant.failure
        ],
    )


def rank(rounding: Rounding | None) -> Rank:
    """Return with whom a contestant is compared."""
    if rounding is None:
        return "unproved"
    return "ranked" if rounding.verdict == "rounding" else "reduced"


def kernels(processes: Mapping[str, Remote]) -> str:
    """Return what the processes compute products with, and their threads."""
    parts: list[str] = []
    for module, remote in processes.items():
        answer, _ = remote.ask("kernel", module=module)
        parts.append(f"{remote.entry.label}: {answer['kernel']}")
    return "; ".join(parts)


def measured_floor(processes: Mapping[str, Remote], work: Work) -> Floor:
    """Measure this machine's peak: products in the fastest process, copies in NumPy's."""
    product_rates: list[float] = []
    for module, remote in processes.items():
        answer, _ = remote.ask("product_rate", module=module)
        product_rates.append(answer["rate"])
    answer, _ = processes["numpy"].ask("copy_rate", size=work.bytes)
    return Floor(work.operations, work.bytes, max(product_rates), answer["rate"])
