"""The rules against the optimizers of PyTorch and Keras themselves."""

import numpy as np
import pytest

from triptych.doctor.optimizers import keras_rule, torch_rule
from triptych.doctor.rules import Problem, run

UPDATES = 12
SCALES = (1.0, 1e-2, 1e-4, 1e-6, 1e-8, 0.0)


def made(seed: int = 0) -> tuple[dict, list[dict]]:
    """Weights, and gradients of all sizes, with jumps and changes of sign."""
    rng = np.random.default_rng(seed)
    weights = {"a/kernel": rng.normal(size=(4, 6)), "a/bias": rng.normal(size=6)}
    weights["b/kernel"] = 0.1 * rng.normal(size=(3, 2, 5, 6))
    scales = np.resize(SCALES, 6)
    gradients = []
    for step in range(UPDATES):
        size = 10.0 if step == 7 else 0.01 if step == 4 else 1.0
        gradients.append(
            {name: size * scales * rng.normal(size=w.shape) for name, w in weights.items()}
        )
    return weights, gradients


def moved(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    return after - before


def in_torch(array: np.ndarray) -> np.ndarray:
    """Return the kernel of a convolution with the axes of the window last."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def canonical(array: np.ndarray) -> np.ndarray:
    """Return a copy of such a kernel with the features last."""
    return (array.transpose(2, 3, 1, 0) if array.ndim == 4 else array).copy()


TORCH = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.3, "amsgrad": True}),
    ("NAdam", {}),
    ("NAdam", {"momentum_decay": 1.0, "weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"weight_decay": 0.1}),
    ("Adamax", {"eps": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "eps": 1e-3}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.95, "eps": 1e-3, "weight_decay": 0.1}),
    ("ASGD", {"weight_decay": 0.1, "lambd": 0.1}),
    ("Rprop", {}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "eps": (1e-3, 0.1), "d": 2.0, "weight_decay": 0.1}),
]


@pytest.mark.framework
@pytest.mark.parametrize(("name", "settings"), TORCH, ids=str)
def test_a_rule_of_pytorch(name: str, settings: dict) -> None:
    import torch

    weights, gradients = made()
    parameters = {key: torch.nn.Parameter(torch.tensor(in_torch(w))) for key, w in weights.items()}
    optimizer = getattr(torch.optim, name)(parameters.values(), **settings)
    after = []
    for each in gradients:
        for key, parameter in parameters.items():
            parameter.grad = torch.tensor(in_torch(each[key]))
        optimizer.step()
        after.append({key: canonical(p.detach().numpy()) for key, p in parameters.items()})
    rule = torch_rule(name, optimizer.defaults)
    assert rule
    problem = Problem.make(weights, gradients, [optimizer.defaults["lr"]] * UPDATES)
    expected = problem.select(after)
    travel = np.abs(expected - problem.weights).max()
    assert np.abs(run(rule, problem) - expected).max() < 1e-13 * travel + 1e-15


KERAS = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"learning_rate": 0.1, "clipnorm": 0.3}),
    ("SGD", {"learning_rate": 0.1, "global_clipnorm": 0.3}),
    ("SGD", {"learning_rate": 0.1, "clipvalue": 0.3}),
    ("SGD", {"learning_rate": 0.1, "gradient_accumulation_steps": 3, "clipnorm": 0.3}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"gradient_accumulation_steps": 4}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.3, "amsgrad": True}),
    ("Nadam", {}),
    ("Nadam", {"beta_1": 0.8, "epsilon": 1e-3, "weight_decay": 0.1}),
    ("Adamax", {"epsilon": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"rho": 0.99, "epsilon": 1e-3, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "epsilon": 1e-3}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 0.0, "epsilon": 1e-3, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 0.5, "rho": 0.9, "epsilon": 1e-3, "weight_decay": 0.1}),
    ("Lion", {"weight_decay": 0.1}),
    ("Lamb", {"epsilon": 1e-3, "weight_decay": 0.1}),
    ("Adafactor", {}),
    ("Adafactor", {"learning_rate": 0.1, "epsilon_1": 1e-3, "weight_decay": 0.1}),
    ("Ftrl", {}),
    ("Ftrl", {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.1, "beta": 0.1}),
]


@pytest.mark.framework
@pytest.mark.parametrize(("name", "settings"), KERAS, ids=str)
def test_a_rule_of_keras(name: str, settings: dict) -> None:
    import keras

    weights, gradients = made()
    variables = {key: keras.Variable(w, dtype="float64") for key, w in weights.items()}
    optimizer = getattr(keras.optimizers, name)(**settings)
    optimizer.build(list(variables.values()))
    after = []
    for each in gradients:
        tensors = [keras.ops.convert_to_tensor(each[key]) for key in variables]
        optimizer.apply(tensors)
        after.append({key: v.numpy() for key, v in variables.items()})
    rule = keras_rule(name, optimizer.get_config())
    assert rule
    rate = float(optimizer.learning_rate.numpy())
    problem = Problem.make(weights, gradients, [rate] * UPDATES)
    expected = problem.select(after)
    travel = np.abs(expected - problem.weights).max()
    assert np.abs(run(rule, problem) - expected).max() < 1e-13 * travel + 1e-15
