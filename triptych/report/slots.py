"""What an optimizer keeps from step to step, in words."""

from ..spec.optimizers import Optimizer

OTHERWISE = "an array that the optimizer keeps for each parameter"
STEP = "the number of steps so far"
VELOCITY = "the running sum of past gradients or steps, which momentum adds to the next step"
MEANINGS = {
    "velocity": VELOCITY,
    "m": "the running mean of the gradient",
    "v": "the running mean of the squared gradient",
    "u": "the running mean of the squared step",
}
# Where an optimizer uses a name for something else.
OTHER_MEANINGS = {("adagrad", "v"): "the sum of the squared gradients since the first step"}


def described(optimizer: Optimizer) -> dict[str, str]:
    """Return what each slot of an optimizer holds.

    A slot is an array that the optimizer keeps for each parameter; the step count is added where
    the update depends on it.
    """
    usual = {slot: MEANINGS.get(slot, OTHERWISE) for slot in optimizer.slots}
    found = {
        slot: OTHER_MEANINGS.get((optimizer.name, slot), words) for slot, words in usual.items()
    }
    return found | ({"step": STEP} if optimizer.counts_steps else {})
