"""What a user of PyTorch runs again and again: a training step, and the model alone."""

from collections.abc import Callable
from typing import Any

import torch

from ..adapter import UserCalls
from .loss import loss_of
from .model import UserModel
from .training import Training

LAST_AXIS = -1


def user_calls(
    model: UserModel, training: Training, loss: Any, inputs: list[torch.Tensor], target: Any
) -> UserCalls:
    """Return the calls of a user, eagerly unless the model was given to `torch.compile`.

    Parameters
    ----------
    model : UserModel
        The model.
    training : Training
        Its optimizer and schedule, as built.
    loss : callable or None
        The user's loss.
    inputs : list of Tensor
        What the model gets.
    target : Tensor, tuple or None
        What the loss gets.
    """

    def infer() -> None:
        with torch.no_grad():
            model.call(*inputs)

    can_train = loss is not None and target is not None and training.optimizer is not None
    train = _training_step(model, training, loss, inputs, target) if can_train else None
    return UserCalls(
        train,
        infer,
        model.set_training,
        "zero_grad, forward, loss, backward, optimizer.step",
        "with torch.no_grad(): model(x)",
        torch.get_num_threads(),
    )


def _training_step(
    model: UserModel, training: Training, loss: Any, inputs: list[torch.Tensor], target: Any
) -> Callable[[], None]:
    """Return the step that everybody writes."""
    training.check_steps()
    optimizer = training.optimizer
    # A schedule that advances after each update is part of the step.
    schedule_step = training.schedule.step if training.advances_with_updates else None

    def train() -> None:
        optimizer.zero_grad()
        output = model.call(*inputs)
        loss_of(loss, output, target, {}, LAST_AXIS).backward()
        optimizer.step()
        if schedule_step:
            schedule_step()

    return train
