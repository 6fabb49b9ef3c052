"""What else of a recorded script is worth to know: it is no difference from one process."""

from itertools import groupby

from ...errors import counted
from .records import Run

FIRST_STEPS = 20  # in which is looked for what each step repeats


def notes_of(single: Run, other: Run) -> list[str]:
    """Return sentences about a run of several workers.

    Parameters
    ----------
    single : Run
        Of one process.
    other : Run
        Of the workers.
    """
    notes: list[str] = []
    facts = other.facts[0]
    if facts["dropout"]:
        notes.append(
            "Dropout was switched off in all runs: several workers cannot draw the masks of one."
        )
    first = [other.values(number) for number in range(min(other.steps, FIRST_STEPS))]
    masks = [[values.masks for values in step] for step in first]
    if other.workers > 1 and any(each[0] and len(set(each)) == 1 for each in masks):
        notes.append(
            "All workers would draw the same dropout masks for different samples: seed their "
            "random numbers differently (seed + rank) after the model is made."
        )
    if same_order(facts["sampler_epochs"]):
        notes.append(
            "The sampler gives every epoch the same order: call sampler.set_epoch(epoch) before "
            "each."
        )
    most = max((step[0].synchronised for step in first), default=0)
    if other.workers > 1 and most > 1:
        notes.append(
            f"The gradients are averaged {most} times a step, where once is enough: use "
            "model.no_sync() for all but the last backward pass."
        )
    if single.steps != other.steps and other.steps < other.settings.steps:
        notes.append(
            f"One process has made {counted(single.steps, 'step')}, "
            f"{counted(other.workers, 'worker')} {other.steps}."
        )
    return notes


def same_order(epochs: list[list[object]]) -> bool:
    """Return whether a sampler that shuffles was asked twice for the order of the same epoch.

    Parameters
    ----------
    epochs : list of list
        For each time that a sampler was gone through: its number, the epoch, whether it shuffles.
    """
    shuffled = sorted((str(sampler), epoch) for sampler, epoch, shuffles in epochs if shuffles)
    for _, group in groupby(shuffled, key=lambda each: each[0]):
        numbers = [epoch for _, epoch in group]
        if len(set(map(str, numbers))) < len(numbers):
            return True
    return False
