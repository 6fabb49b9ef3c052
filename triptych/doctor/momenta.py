"""The momentum of an optimizer, or Adam's first beta, where a schedule changes it."""

import numpy as np

from .observation import Array, Description
from .optimizers import entry, written
from .rates import differ

# The settings of the rules that are such a momentum.
SETTINGS = ("beta1", "momentum")


def differing_momenta(descriptions: tuple[Description, Description]) -> tuple[Array, Array] | None:
    """Return the momenta of both sides by the steps of a schedule, if one of them changes.

    Parameters
    ----------
    descriptions : tuple of Description
        Of A and of B.

    Returns
    -------
    tuple of ndarray or None
        Of A and of B, as many; None if they are equal, or if a side's momentum is not known.
    """
    changing = [each.momenta for each in descriptions]
    if not any(changing):
        return None
    steps = min(len(each) for each in changing if each)
    series: list[Array] = []
    for description, momenta in zip(descriptions, changing, strict=True):
        constant = _constant(description)
        if not momenta and constant is None:
            return None
        series.append(np.array(momenta[:steps] or [constant] * steps))
    a, b = series
    return (a, b) if differ(a, b).any() else None


def _constant(description: Description) -> float | None:
    """Return the momentum in an optimizer's settings; None if the optimizer is not known."""
    form = written(description)
    if form is None or description.optimizer is None:
        return None
    names = [form.names[name] for name in SETTINGS if name in form.names]
    values = [entry(description.optimizer.settings, name) for name in names]
    return float(values[0]) if values and values[0] is not None else 0.0


def momentum_fix(description: Description) -> str | None:
    """Return the line with which a side's momentum is the other's: constant, or changing."""
    schedule = description.schedule
    if schedule is not None and description.momenta:
        return f"torch.optim.lr_scheduler.{schedule.type}(..., cycle_momentum=False)"
    form = written(description)
    if description.framework != "keras" or form is None:
        return None
    name = next((form.names[each] for each in SETTINGS if each in form.names), "momentum")
    return (
        "callbacks.LambdaCallback(on_train_batch_begin=lambda step, logs: "
        f'setattr(model.optimizer, "{name}", momenta[step]))  # with run_eagerly=True'
    )
