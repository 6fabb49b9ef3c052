"""What both sides are given to find out how they train: gradients, and numbers of steps.

All of it depends on side A alone, so that a recording of A holds what is asked of it.
"""

import numpy as np

from .observation import Arrays, Component, Description

# Real training steps on the batch.
TRAINING_STEPS = 10

# Updates with gradients of the size that the model has; then with gradients of all sizes.
REAL_UPDATES = 12
MADE_UPDATES = 6
FEWEST_UPDATES = 4
# At most so many numbers in all gradients together.
LARGEST_RUN = 12_000_000

# Real gradients change from batch to batch; factors between these stand for that.
SMALLEST_FACTOR = 0.5
LARGEST_FACTOR = 1.5

# The sizes of made gradients, relative to the real ones: by element, and by update.
ELEMENT_SCALES = (1.0, 1e-2, 1e-4, 0.0, -1.0)
UPDATE_SCALES = (1.0, 10.0, 1e-3, -1.0, 100.0, 1.0)

# How many updates of a schedule are looked at, and for how long after its end.
FEWEST_RATES = 60
MOST_RATES = 2000
EPOCHS = 6
BEYOND_THE_END = 1.3

# Settings that count the updates or epochs of a schedule.
LENGTHS = ("T_max", "T_0", "total_iters", "total_steps", "decay_steps", "first_decay_steps")


def real_updates(gradients: Arrays) -> int:
    """Return how many updates are made with real gradients."""
    size = sum(array.size for array in gradients.values())
    affordable = LARGEST_RUN // max(1, size) - MADE_UPDATES
    return int(np.clip(affordable, FEWEST_UPDATES, REAL_UPDATES))


def probe_gradients(gradients: Arrays) -> list[Arrays]:
    """Return the gradients that both optimizers are given.

    First come gradients of the size that the model has, each element times a random factor; then
    such of all sizes, with exact zeros, changes of sign and jumps. They do not depend on the order
    of the names, because a trace is read in another order than it was recorded.

    Parameters
    ----------
    gradients : dict of str to ndarray
        A's gradients of its trained weights, by ``PATH/ROLE``.

    Returns
    -------
    list of dict
        For each update, by ``PATH/ROLE``, in the dtype of `gradients`.
    """
    generator = np.random.Generator(np.random.Philox(0))
    steps: list[Arrays] = []
    for step in range(real_updates(gradients) + MADE_UPDATES):
        made = step - real_updates(gradients)
        scaled: Arrays = {}
        for name, gradient in sorted(gradients.items()):
            factors = generator.uniform(SMALLEST_FACTOR, LARGEST_FACTOR, gradient.shape)
            if made >= 0:
                scales = np.resize(ELEMENT_SCALES, gradient.size).reshape(gradient.shape)
                factors = factors * scales * UPDATE_SCALES[made]
            scaled[name] = (gradient * factors).astype(gradient.dtype)
        steps.append(scaled)
    return steps


def schedule_updates(description: Description) -> int:
    """Return of how many updates the learning rates are looked at."""
    steps = description.steps_per_epoch or 1
    wanted = max(FEWEST_RATES, EPOCHS * steps)
    schedule = description.schedule
    if schedule is not None:
        unit = steps if schedule.unit == "epoch" else 1
        wanted = max(wanted, int(BEYOND_THE_END * unit * _length(schedule)) + unit)
    return min(MOST_RATES, wanted)


def schedule_end(description: Description) -> int | None:
    """Return the update after which a schedule has done all that it does; None if unknown."""
    schedule = description.schedule
    if schedule is None:
        return None
    unit = (description.steps_per_epoch or 1) if schedule.unit == "epoch" else 1
    return int(unit * _length(schedule)) or None


def _length(schedule: Component) -> float:
    """Return after how many of its own steps a schedule has done all that it does."""
    numbers = [schedule.settings.get(name) for name in LENGTHS]
    for name in ("milestones", "boundaries"):
        values = schedule.settings.get(name)
        if isinstance(values, (list, tuple)):
            numbers += list(values)
        elif isinstance(values, dict):
            numbers += [float(key) for key in values]
    for name in ("step_size", "warmup_steps"):
        value = schedule.settings.get(name)
        if isinstance(value, (int, float)):
            numbers.append(3 * value)
    return max([float(each) for each in numbers if isinstance(each, (int, float))], default=0.0)
