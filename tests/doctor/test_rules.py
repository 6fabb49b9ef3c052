"""The rules against the optimizers of PyTorch and Keras themselves."""

import numpy as np
import pytest

from triptych.doctor.observation import Arrays
from triptych.doctor.optimizers import keras_rule, torch_rule
from triptych.doctor.rules import Problem, Rule, run

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
    ("SGD", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.9}),
    (
        "SGD",
        {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 5},
    ),
    (
        "Adam",
        {"use_ema": True, "ema_overwrite_frequency": 2, "gradient_accumulation_steps": 3},
    ),
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


@pytest.mark.framework
@pytest.mark.parametrize("name", ["Lamb", "Adafactor"])
def test_arrays_of_keras_that_hold_several_weights(name: str) -> None:
    """A GRU has both biases in one array, and attention has an axis for the heads."""
    import keras

    rng = np.random.default_rng(2)
    shapes = {"gru/bias": (2, 6), "mix/query_kernel": (5, 2, 3), "mix/query_bias": (2, 3)}
    start = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    gradients = [{key: rng.normal(size=w.shape) for key, w in start.items()} for _ in range(6)]
    variables = [keras.Variable(w, dtype="float64") for w in start.values()]
    optimizer = getattr(keras.optimizers, name)(learning_rate=0.01)
    after = []
    for each in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in each.values()], variables)
        after.append({key: v.numpy() for key, v in zip(start, variables, strict=True)})

    def parted(arrays: Arrays) -> Arrays:
        return {
            "gru/bias": arrays["gru/bias"][0],
            "gru/recurrent_bias": arrays["gru/bias"][1],
            "mix/query_kernel": arrays["mix/query_kernel"].reshape(5, 6),
            "mix/query_bias": arrays["mix/query_bias"].reshape(6),
        }

    rate = float(optimizer.learning_rate.numpy())
    problem = Problem.make(parted(start), [parted(each) for each in gradients], [rate] * 6)
    expected = problem.select([parted(each) for each in after])
    rule = keras_rule(name, optimizer.get_config())
    assert rule
    own = rule.with_settings(
        joined=(("gru/bias", "gru/recurrent_bias"),),
        forms={"mix/query_kernel": (5, 2, 3), "mix/query_bias": (2, 3)},
    )
    travel = np.abs(expected - problem.weights).max()
    assert np.abs(run(own, problem) - expected).max() < 1e-13 * travel + 1e-15
    assert np.abs(run(rule, problem) - expected).max() > 1e-4 * travel


def test_the_norm_of_all_gradients_counts_weights_that_are_not_computed() -> None:
    weights = {"a": np.zeros(2), "b": np.zeros(1)}
    gradients = [{"a": np.array([3.0, 0.0]), "b": np.array([4.0])}]
    rule = Rule.make("sgd", clip="global_norm", limit=1.0)
    problem = Problem.make(weights, gradients, [1.0], names=["a"])
    np.testing.assert_allclose(run(rule, problem), [[-0.6, 0.0]])
    both = Problem.make(weights, gradients, [1.0])
    np.testing.assert_allclose(run(rule, both), [[-0.6, 0.0, -0.8]])
