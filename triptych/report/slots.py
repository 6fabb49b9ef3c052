"""What an optimizer keeps from step to step, in words."""

from ..spec.optimizers import Optimizer

OTHERWISE = "an array that the optimizer keeps for each parameter"
STEP = "the number of steps so far"


def described(optimizer: Optimizer) -> dict[str, str]:
    """Return what each slot of an optimizer holds.

    A slot is an array that the optimizer keeps for each parameter; the step count is added where
    the update depends on it.
    """
    meanings: dict[str, str] = {}
    for name in optimizer.slots:
        slot = optimizer.slot_kinds.get(name)
        meanings[name] = slot.meaning if slot else OTHERWISE
    if optimizer.counts_steps:
        meanings["step"] = STEP
    return meanings
