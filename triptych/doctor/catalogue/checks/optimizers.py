"""Measurements of optimizers: a single weight, and gradients that are given."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .support import Values, apart, check, draw, keras_travel, largest, to_numpy, torch_travel

STEPS = 50
ONES = [1.0] * STEPS
WAVE = [float(np.cos(0.2 * step)) for step in range(STEPS)]  # changes its sign
SMALL = 1e-6  # a gradient at which epsilon matters


def _torch_weight(start: float = 0.0) -> Any:
    """Return a weight in float64."""
    import torch

    return torch.full((), start, dtype=torch.float64, requires_grad=True)


def _keras_weight(start: float = 0.0) -> Any:
    """Return a weight in float64."""
    import keras

    return keras.Variable(np.float64(start), dtype="float64")


def _torch_end(name: str, gradients: Sequence[float], start: float = 0.0, **options: Any) -> float:
    """Return how far a weight of PyTorch travels with an optimizer."""
    import torch

    weight = _torch_weight(start)
    optimizer = getattr(torch.optim, name)([weight], **options)
    return torch_travel(optimizer, weight, gradients)[-1] - start


def _keras_end(name: str, gradients: Sequence[float], start: float = 0.0, **options: Any) -> float:
    """Return how far a weight of Keras travels with an optimizer."""
    import keras

    optimizer = getattr(keras.optimizers, name)(**options)
    return keras_travel(optimizer, _keras_weight(start), gradients)[-1] - start


def _torch_default(name: str, option: str) -> Any:
    import torch

    return getattr(torch.optim, name)([_torch_weight()]).defaults[option]


def _keras_default(name: str, option: str) -> Any:
    import keras

    return getattr(getattr(keras.optimizers, name)(), option)


def _rate_and_epsilon(name: str, keras_name: str | None = None) -> Values:
    """Return the default rates and epsilons; the name in Keras is the same if it is not given."""
    keras_name = keras_name or name
    return {
        "torch lr": _torch_default(name, "lr"),
        "keras rate": _keras_default(keras_name, "learning_rate"),
        "torch eps": _torch_default(name, "eps"),
        "keras epsilon": _keras_default(keras_name, "epsilon"),
    }


def _travels(name: str, torch_matched: dict[str, float], keras_matched: dict[str, float]) -> Values:
    """Return the distances of 50 steps with gradients of 1, by default and matched."""
    return {
        "torch travel": -_torch_end(name, ONES),
        "keras travel": -_keras_end(name, ONES),
        "torch travel, with Keras's numbers": -_torch_end(name, ONES, **torch_matched),
        "keras travel, with PyTorch's numbers": -_keras_end(name, ONES, **keras_matched),
    }


@check("D46")
def adam_epsilon() -> Values:
    """Measure epsilon."""
    return {"torch": _torch_default("Adam", "eps"), "keras": _keras_default("Adam", "epsilon")}


@check("D47")
def adam_epsilon_place() -> Values:
    """Measure the effective epsilon at steps 1, 10 and 100: step = rate·g / (g + epsilon)."""
    import keras
    import torch

    rate = 1.0
    gradients = [SMALL] * 100
    torch_weight = _torch_weight()
    optimizer = torch.optim.Adam([torch_weight], lr=rate, eps=1e-8)
    torch_values = torch_travel(optimizer, torch_weight, gradients)
    keras_weight = _keras_weight()
    keras_optimizer = keras.optimizers.Adam(learning_rate=rate, epsilon=1e-8)
    keras_values = keras_travel(keras_optimizer, keras_weight, gradients)
    fixed = _adam_like_keras()
    values: Values = {}
    for step in (1, 10, 100):
        values[f"torch at step {step}"] = _effective_epsilon(torch_values, step)
        values[f"keras at step {step}"] = _effective_epsilon(keras_values, step)
    values["torch, eps set before each step, at step 10"] = _effective_epsilon(fixed, 10)
    values["keras, epsilon set before each step, at step 10"] = _effective_epsilon(
        _keras_like_adam(), 10
    )
    values["keras by default at step 1"] = _effective_epsilon(
        keras_travel(keras.optimizers.Adam(learning_rate=rate), _keras_weight(), [SMALL]), 1
    )
    return values


def _effective_epsilon(values: Sequence[float], step: int) -> float:
    """Return the epsilon that explains a step with the constant gradient `SMALL` and the rate 1."""
    before = values[step - 2] if step > 1 else 0.0
    length = before - values[step - 1]
    return SMALL / length - SMALL


def _adam_like_keras() -> list[float]:
    """Return the travel of PyTorch's Adam with the epsilon of Keras at each step."""
    import torch

    weight = _torch_weight()
    optimizer = torch.optim.Adam([weight], lr=1.0)
    values: list[float] = []
    for step in range(1, 11):
        optimizer.param_groups[0]["eps"] = 1e-8 / (1 - 0.999**step) ** 0.5
        values += torch_travel(optimizer, weight, [SMALL])
    return values


def _keras_like_adam() -> list[float]:
    """Return the travel of Keras's Adam with the epsilon of PyTorch at each step."""
    import keras

    weight = _keras_weight()
    optimizer = keras.optimizers.Adam(learning_rate=1.0)
    values: list[float] = []
    for step in range(1, 11):
        optimizer.epsilon = 1e-8 * (1 - 0.999**step) ** 0.5
        values += keras_travel(optimizer, weight, [SMALL])
    return values


@check("D48")
def rmsprop() -> Values:
    """Measure defaults, and 50 steps with gradients of 1e-4 and equal numbers."""
    small = [1e-4] * STEPS
    numbers = {"eps": 1e-7, "alpha": 0.9, "lr": 1e-3}
    keras_numbers = {"epsilon": 1e-7, "rho": 0.9, "learning_rate": 1e-3}
    matched = {"epsilon": 1e-16, "rho": 0.99, "learning_rate": 0.01}
    return {
        **_rate_and_epsilon("RMSprop"),
        "torch alpha": _torch_default("RMSprop", "alpha"),
        "keras rho": _keras_default("RMSprop", "rho"),
        "torch travel": -_torch_end("RMSprop", small, **numbers),
        "keras travel": -_keras_end("RMSprop", small, **keras_numbers),
        "torch travel by default": -_torch_end("RMSprop", ONES),
        "keras travel, epsilon=1e-16": -_keras_end("RMSprop", ONES, **matched),
    }


@check("D49")
def adagrad() -> Values:
    """Measure defaults, and 50 steps with gradients of 1, by default and matched."""
    torch_matched = {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7}
    keras_matched = {"learning_rate": 0.01, "initial_accumulator_value": 0.0, "epsilon": 1e-20}
    return {
        **_rate_and_epsilon("Adagrad"),
        "torch accumulator": _torch_default("Adagrad", "initial_accumulator_value"),
        "keras accumulator": _keras_default("Adagrad", "initial_accumulator_value"),
        **_travels("Adagrad", torch_matched, keras_matched),
    }


@check("D50")
def adadelta() -> Values:
    """Measure defaults, and 50 steps with gradients of 1, by default and matched."""
    torch_matched = {"lr": 1e-3, "rho": 0.95, "eps": 1e-7}
    keras_matched = {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6}
    return {
        **_rate_and_epsilon("Adadelta"),
        "torch rho": _torch_default("Adadelta", "rho"),
        "keras rho": _keras_default("Adadelta", "rho"),
        **_travels("Adadelta", torch_matched, keras_matched),
    }


@check("D51")
def adamax() -> Values:
    """Measure defaults, and steps with gradients of 1e-6 and then 0."""
    vanishing = [SMALL] + [0.0] * (STEPS - 1)
    return {
        **_rate_and_epsilon("Adamax"),
        "torch travel": -_torch_end("Adamax", ONES, lr=1e-3, eps=1e-7),
        "keras travel": -_keras_end("Adamax", ONES, learning_rate=1e-3, epsilon=1e-7),
        "torch travel, tiny gradient": -_torch_end("Adamax", vanishing, lr=1e-3, eps=1e-7),
        "keras travel, tiny gradient": -_keras_end(
            "Adamax", vanishing, learning_rate=1e-3, epsilon=1e-7
        ),
    }


@check("D52")
def nadam() -> Values:
    """Measure 50 steps with gradients that change their sign and with equal numbers."""
    equal = {"lr": 1e-3, "eps": 1e-7}
    return {
        **_rate_and_epsilon("NAdam", "Nadam"),
        "torch travel": _torch_end("NAdam", WAVE, **equal),
        "keras travel": _keras_end("Nadam", WAVE, learning_rate=1e-3, epsilon=1e-7),
        "torch travel, momentum_decay=1": _torch_end("NAdam", WAVE, momentum_decay=1.0, **equal),
    }


@check("D53")
def sgd_rate() -> Values:
    """Measure one step with the gradient 1."""
    return {"torch": -_torch_end("SGD", [1.0]), "keras": -_keras_end("SGD", [1.0])}


@check("D54")
def momentum() -> Values:
    """Measure 50 steps with momentum 0.9 whose rate drops from 0.1 to 0.01 in the middle."""
    return {
        "torch travel": -_torch_drop(False),
        "keras travel": -_keras_drop(False),
        "torch travel, buffer rescaled": -_torch_drop(True),
        "keras travel, velocity rescaled": -_keras_drop(True),
    }


def _torch_drop(rescaled: bool) -> float:
    import torch

    weight = _torch_weight()
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    torch_travel(optimizer, weight, ONES[:25])
    optimizer.param_groups[0]["lr"] = 0.01
    if rescaled:
        for state in optimizer.state.values():
            state["momentum_buffer"].mul_(0.1 / 0.01)
    return torch_travel(optimizer, weight, ONES[25:])[-1]


def _keras_drop(rescaled: bool) -> float:
    import keras

    weight = _keras_weight()
    optimizer = keras.optimizers.SGD(learning_rate=0.1, momentum=0.9)
    keras_travel(optimizer, weight, ONES[:25])
    optimizer.learning_rate = 0.01
    if rescaled:
        for velocity in optimizer.momentums:
            velocity.assign(velocity * 0.01 / 0.1)
    return keras_travel(optimizer, weight, ONES[25:])[-1]


@check("D55")
def dampening() -> Values:
    """Measure 5 steps with momentum 0.9 and dampening 0.5, against half the rate."""
    return {
        "torch travel": -_torch_end("SGD", ONES[:5], lr=0.1, momentum=0.9, dampening=0.5),
        "torch travel, dampening=0": -_torch_end("SGD", ONES[:5], lr=0.05, momentum=0.9),
        "keras travel": -_keras_end("SGD", ONES[:5], learning_rate=0.05, momentum=0.9),
    }


@check("D56")
def weight_decay() -> Values:
    """Measure 50 steps from 1 with the decay 0.1 and gradients that change their sign."""
    torch_options = {"lr": 0.01, "weight_decay": 0.1}
    keras_options = {"learning_rate": 0.01, "weight_decay": 0.1}
    return {
        "torch SGD": -_torch_end("SGD", WAVE, 1.0, **torch_options),
        "keras SGD": -_keras_end("SGD", WAVE, 1.0, **keras_options),
        "torch SGD with momentum": -_torch_end("SGD", WAVE, 1.0, momentum=0.9, **torch_options),
        "keras SGD with momentum": -_keras_end("SGD", WAVE, 1.0, momentum=0.9, **keras_options),
        "torch Adam": -_torch_end("Adam", WAVE, 1.0, **torch_options),
        "keras Adam": -_keras_end("Adam", WAVE, 1.0, **keras_options),
        "torch AdamW": -_torch_end("AdamW", WAVE, 1.0, **torch_options),
    }


@check("D57")
def adamw_decay() -> Values:
    """Measure the default, and a step from 1 with a gradient of 0 and the rate 0.5."""
    return {
        "torch weight_decay": _torch_default("AdamW", "weight_decay"),
        "keras weight_decay": _keras_default("AdamW", "weight_decay"),
        "torch step": -_torch_end("AdamW", [0.0], 1.0, lr=0.5),
        "keras step": -_keras_end("AdamW", [0.0], 1.0, learning_rate=0.5),
    }


@check("D58")
def factor_of_two() -> Values:
    """Measure what the penalty 0.1 adds to the gradient of a weight of 3."""
    import keras
    import tensorflow as tf

    weight = tf.Variable(3.0)
    with tf.GradientTape(persistent=True) as tape:
        penalty = keras.regularizers.L2(0.1)(weight)
        halved = 0.1 * tf.nn.l2_loss(weight)
    return {
        "torch": -_torch_end("SGD", [0.0], 3.0, lr=1.0, weight_decay=0.1),
        "keras": tape.gradient(penalty, weight),
        "tf l2_loss": tape.gradient(halved, weight),
    }


@check("D59")
def clipping() -> Values:
    """Measure the norm of two gradients of norm 1 after clipping at 1."""
    import keras
    import torch

    weights = [torch.zeros((), requires_grad=True) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.ones(())
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    together = torch.stack([weight.grad for weight in weights]).norm()
    values: Values = {"torch": together}
    for option in ("clipnorm", "global_clipnorm"):
        variables = [keras.Variable(0.0) for _ in range(2)]
        optimizer = keras.optimizers.SGD(learning_rate=1.0, **{option: 1.0})
        optimizer.apply([keras.ops.ones(()) for _ in variables], variables)
        values[f"keras {option}"] = np.linalg.norm([to_numpy(v.value) for v in variables])
    return values


@check("D60")
def clipping_epsilon() -> Values:
    """Measure the norms of 5, clipped at 1, and of 1e-3, clipped at 1e-3."""
    import torch

    values: Values = {}
    for norm, limit in ((5.0, 1.0), (1e-3, 1e-3)):
        weight = _torch_weight()
        weight.grad = torch.full_like(weight, norm)
        torch.nn.utils.clip_grad_norm_([weight], limit)
        values[f"torch, {norm:g} at {limit:g}"] = weight.grad / limit
        travel = _keras_end("SGD", [norm], learning_rate=1.0, global_clipnorm=limit)
        values[f"keras, {norm:g} at {limit:g}"] = -travel / limit
    return values


@check("D61")
def accumulation() -> Values:
    """Measure the weight after four gradients of 1 and one update with the rate 1."""
    import torch

    weight = _torch_weight()
    for _ in range(4):
        weight.backward()
    torch.optim.SGD([weight], lr=1.0).step()
    accumulating = {"learning_rate": 1.0, "gradient_accumulation_steps": 4}
    return {"torch": weight, "keras": _keras_end("SGD", ONES[:4], **accumulating)}


@check("D62")
def rate_dtype() -> Values:
    """Measure by how much a step with the rate 0.1 differs from 0.1 in float64."""
    return {
        "torch": -_torch_end("SGD", [1.0], lr=0.1) - 0.1,
        "keras": -_keras_end("SGD", [1.0], learning_rate=0.1) - 0.1,
    }


@check("D63")
def cast_of_a_float() -> Values:
    """Measure by how much 0.1 as a tensor of float64 differs from 0.1."""
    import tensorflow as tf
    import torch

    return {
        "torch": torch.tensor(0.1, dtype=torch.float64) - 0.1,
        "tf cast": float(tf.cast(0.1, tf.float64)) - 0.1,
        "tf constant": float(tf.constant(0.1, tf.float64)) - 0.1,
    }


@check("D118")
def adafactor() -> Values:
    """Measure defaults, and the first step of a kernel of 4×4."""
    import keras
    import torch

    start = draw(4, 4)
    gradient = draw(4, 4, seed=1)
    values: Values = {
        "torch lr": _torch_default("Adafactor", "lr"),
        "keras rate": _keras_default("Adafactor", "learning_rate"),
    }
    steps: dict[str, Any] = {}
    for rate in (0.01, 0.001):
        weight = torch.tensor(start, requires_grad=True)
        weight.grad = torch.from_numpy(gradient)
        torch.optim.Adafactor([weight], lr=rate).step()
        steps[f"torch, {rate}"] = to_numpy(weight) - start
        variable = keras.Variable(start)
        keras.optimizers.Adafactor(learning_rate=rate).apply([gradient], [variable])
        steps[f"keras, {rate}"] = to_numpy(variable.value) - start
    values["torch step"] = largest(steps["torch, 0.01"])
    values["keras step"] = largest(steps["keras, 0.001"])
    values["torch step, lr=0.001"] = largest(steps["torch, 0.001"])
    values["torch, from Keras at equal rates"] = apart(steps["torch, 0.001"], steps["keras, 0.001"])
    return values


@check("D128")
def averaged_weights() -> Values:
    """Measure a weight after four steps by -1, and its averages."""
    import keras
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model = torch.nn.ParameterList([_torch_weight()])
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    mean = AveragedModel(model)
    moving = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    for _ in range(4):
        model[0].grad = torch.ones_like(model[0])
        optimizer.step()
        mean.update_parameters(model)
        moving.update_parameters(model)
    weight = _keras_weight()
    averaging = keras.optimizers.SGD(learning_rate=1.0, use_ema=True, ema_momentum=0.5)
    travel = keras_travel(averaging, weight, ONES[:4])
    averaging.finalize_variable_values([weight])  # what fit does at its end
    return {
        "torch weight": model[0],
        "torch AveragedModel": mean.module[0],
        "torch AveragedModel, decay 0.5": moving.module[0],
        "keras ema_momentum": _keras_default("SGD", "ema_momentum"),
        "keras weight, use_ema=True": travel[-1],
        "keras at the end of fit, use_ema=True": float(to_numpy(weight.value)),
    }
