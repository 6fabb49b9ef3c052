"""Measurements of schedules and callbacks."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .support import Values, check


def _torch_optimizer(rate: float = 1.0) -> Any:
    import torch

    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)


def _torch_rates(scheduler: Any, steps: int) -> list[float]:
    """Return the rate of each step, the first before the scheduler's first step."""
    rates: list[float] = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def _keras_rates(schedule: Any, steps: int) -> list[float]:
    return [float(schedule(step)) for step in range(steps)]


def _torch_cuts(losses: Iterable[float], **options: Any) -> list[int]:
    """Return the numbers of the epochs after which PyTorch's plateau rule cuts the rate."""
    import torch

    optimizer = _torch_optimizer()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    cuts: list[int] = []
    for epoch, loss in enumerate(losses, 1):
        before = optimizer.param_groups[0]["lr"]
        scheduler.step(loss)
        if optimizer.param_groups[0]["lr"] < before:
            cuts.append(epoch)
    return cuts


def _keras_model() -> Any:
    import keras

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate=1.0), "mse")
    return model


def _keras_cuts(losses: Iterable[float], **options: Any) -> list[int]:
    """Return the numbers of the epochs after which the callback of Keras cuts the rate."""
    import keras

    callback = keras.callbacks.ReduceLROnPlateau(monitor="loss", min_lr=0.0, **options)
    model = _keras_model()
    callback.set_model(model)
    callback.on_train_begin()
    cuts: list[int] = []
    for epoch, loss in enumerate(losses):
        before = float(model.optimizer.learning_rate)
        callback.on_epoch_end(epoch, {"loss": loss})
        if float(model.optimizer.learning_rate) < before:
            cuts.append(epoch + 1)
    return cuts


@check("D64")
def patience() -> Values:
    """Measure the epochs of ten after which a constant loss cuts the rate, with patience 3."""
    constant = [1.0] * 10
    return {
        "torch": _torch_cuts(constant, patience=3),
        "keras": _keras_cuts(constant, patience=3),
        "torch, patience=2": _torch_cuts(constant, patience=2),
    }


@check("D65")
def threshold() -> Values:
    """Measure the epochs of 12 with cuts: a loss of 0.01 falls by 0.2 % an epoch, patience 4."""
    losses = [0.01 * 0.998**epoch for epoch in range(12)]
    return {
        "torch": _torch_cuts(losses, patience=4),
        "keras": _keras_cuts(losses, patience=5),
        "torch, threshold_mode='abs'": _torch_cuts(
            losses, patience=4, threshold=1e-4, threshold_mode="abs"
        ),
    }


@check("D66")
def early_stopping() -> Values:
    """Measure the epoch after which losses that rise stop a training, and the defaults."""
    import keras
    import torch

    callback = keras.callbacks.EarlyStopping(monitor="loss")
    return {
        "torch, schedulers that stop": sum(
            "stop" in name.lower() for name in dir(torch.optim.lr_scheduler)
        ),
        "keras patience": callback.patience,
        "keras restore_best_weights": callback.restore_best_weights,
        "keras, epoch of the stop": _stopped_after(callback, (1.0, 0.9, 0.95, 0.8, 0.7)),
    }


def _stopped_after(callback: Any, losses: Sequence[float]) -> int:
    """Return the number of the epoch after which a callback stops the training."""
    model = _keras_model()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"loss": loss})
        if model.stop_training:
            return epoch + 1
    return len(losses)


@check("D67")
def unit_of_steps() -> Values:
    """Measure the rate after 2 updates with a decay by half over 2 steps."""
    import keras

    optimizer = _torch_optimizer()
    torch_scheduler = _halving(optimizer, 2)
    for _ in range(2):
        optimizer.step()
    after_updates = optimizer.param_groups[0]["lr"]
    for _ in range(2):
        torch_scheduler.step()
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 2, 0.5)
    keras_optimizer = keras.optimizers.SGD(learning_rate=schedule)
    weight = keras.Variable(0.0)
    for _ in range(2):
        keras_optimizer.apply([keras.ops.ones(())], [weight])
    return {
        "torch": after_updates,
        "torch, after step() twice": optimizer.param_groups[0]["lr"],
        "keras": keras_optimizer.learning_rate,
    }


def _halving(optimizer: Any, steps: int) -> Any:
    import torch

    return torch.optim.lr_scheduler.StepLR(optimizer, steps, gamma=0.5)


@check("D68")
def cosine() -> Values:
    """Measure the rates at steps 5, 10, 15 and 20 of a decay over 10 steps."""
    import keras
    import torch

    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(_torch_optimizer(), T_max=10)
    schedules = keras.optimizers.schedules
    torch_rates = _torch_rates(scheduler, 21)
    keras_rates = _keras_rates(schedules.CosineDecay(1.0, 10), 21)
    floor = torch.optim.lr_scheduler.CosineAnnealingLR(_torch_optimizer(0.5), 10, eta_min=0.1)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(_torch_optimizer(), 10)
    return {
        "torch": [round(rate, 6) for rate in torch_rates[5::5]],
        "keras": [round(rate, 6) for rate in keras_rates[5::5]],
        "torch floor, rate 0.5, eta_min=0.1": _torch_rates(floor, 11)[10],
        "keras floor, rate 0.5, alpha=0.1": schedules.CosineDecay(0.5, 10, alpha=0.1)(10),
        "torch T_mult": restarts.T_mult,
        "keras t_mul": schedules.CosineDecayRestarts(1.0, 10).get_config()["t_mul"],
    }


@check("D69")
def exponential() -> Values:
    """Measure the rate after 5 steps of a halving over 10, and the end of a polynomial decay."""
    import keras
    import torch

    schedules = keras.optimizers.schedules
    polynomial = torch.optim.lr_scheduler.PolynomialLR(_torch_optimizer(), total_iters=10)
    return {
        "torch StepLR": _torch_rates(_halving(_torch_optimizer(), 10), 6)[5],
        "keras ExponentialDecay": schedules.ExponentialDecay(1.0, 10, 0.5)(5),
        "keras, staircase=True": schedules.ExponentialDecay(1.0, 10, 0.5, staircase=True)(5),
        "torch PolynomialLR": _torch_rates(polynomial, 11)[10],
        "keras PolynomialDecay": schedules.PolynomialDecay(1.0, 10)(10),
    }


@check("D97")
def piecewise() -> Values:
    """Measure the rates of steps 0 to 5 with a drop to 0.1 at 3."""
    import keras
    import torch

    scheduler = torch.optim.lr_scheduler.MultiStepLR(_torch_optimizer(), [3])
    schedules = keras.optimizers.schedules
    rates = _keras_rates(schedules.PiecewiseConstantDecay([3], [1.0, 0.1]), 6)
    earlier = _keras_rates(schedules.PiecewiseConstantDecay([2], [1.0, 0.1]), 6)
    return {
        "torch": [round(rate, 6) for rate in _torch_rates(scheduler, 6)],
        "keras": [round(rate, 6) for rate in rates],
        "keras, boundary 2": [round(rate, 6) for rate in earlier],
    }


@check("D119")
def warm_up() -> Values:
    """Measure the rates of the first three steps of a warm-up to 1 over 5 steps."""
    import keras
    import torch

    scheduler = torch.optim.lr_scheduler.LinearLR(_torch_optimizer())
    schedules = keras.optimizers.schedules
    warming = schedules.CosineDecay(0.0, 100, warmup_target=1.0, warmup_steps=5)
    matched = schedules.CosineDecay(1 / 3, 100, warmup_target=1.0, warmup_steps=5)
    return {
        "torch": [round(rate, 6) for rate in _torch_rates(scheduler, 3)],
        "keras": [round(rate, 6) for rate in _keras_rates(warming, 3)],
        "keras, from a third": [round(rate, 6) for rate in _keras_rates(matched, 3)],
    }


@check("D125")
def momentum_of_a_schedule() -> Values:
    """Measure the momentum at the first, middle and last step of a cycle, and who may set it."""
    import keras
    import torch

    def cycled(kind: Any, **options: Any) -> list[float]:
        optimizer = kind([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.1, total_steps=9, pct_start=5 / 9, **options
        )
        found: list[float] = []
        for step in range(9):
            group = optimizer.param_groups[0]
            found.append(group["betas"][0] if "betas" in group else group["momentum"])
            if step < 8:
                optimizer.step()
                schedule.step()
        return [round(found[0], 6), round(min(found), 6), round(found[-1], 6)]

    beta = keras.optimizers.Adam(0.1).beta_1
    return {
        "torch": cycled(torch.optim.Adam),
        "torch, cycle_momentum=False": cycled(torch.optim.Adam, cycle_momentum=False),
        "torch SGD": cycled(lambda tensors, lr: torch.optim.SGD(tensors, lr=lr, momentum=0.9)),
        "keras": [beta] * 3,
        "keras, set by a callback, without run_eagerly": _has_effect(run_eagerly=False),
        "keras, set by a callback, with run_eagerly=True": _has_effect(run_eagerly=True),
    }


def _has_effect(*, run_eagerly: bool) -> bool:
    """Return whether a callback that sets Adam's beta_1 before each batch changes a training."""
    import keras

    weights: list[Any] = []
    for momenta in ([0.9] * 4, [0.9, 0.5, 0.1, 0.9]):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "linear", False)])
        model.set_weights([np.ones((1, 1))])
        optimizer = keras.optimizers.Adam(0.1)
        model.compile(optimizer, "mse", run_eagerly=run_eagerly)
        setting = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda step, logs, optimizer=optimizer, momenta=momenta: setattr(
                optimizer, "beta_1", momenta[step]
            )
        )
        x = np.array([[1.0], [-2.0], [3.0], [0.5]])
        model.fit(x, np.abs(x), batch_size=1, shuffle=False, callbacks=[setting], verbose=0)
        weights.append(model.get_weights()[0])
    return not np.array_equal(*weights)
