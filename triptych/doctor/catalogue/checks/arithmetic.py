"""Measurements of arithmetic."""

from typing import Any

import numpy as np

from .support import Array, Values, check, draw, keras_travel, to_numpy, torch_travel


@check("D88")
def tensor_float_32() -> Values:
    """Measure whether products and convolutions may use TF32 on a GPU."""
    import tensorflow as tf
    import torch

    return {
        "torch products": torch.backends.cuda.matmul.allow_tf32,
        "torch convolutions": torch.backends.cudnn.allow_tf32,
        "tf": tf.config.experimental.tensor_float_32_execution_enabled(),
    }


@check("D89")
def last_bit_of_exp() -> Values:
    """Measure the share of 100,000 values of exp that differ from NumPy's."""
    import tensorflow as tf
    import torch

    x = draw(100_000)
    expected = np.exp(x)
    return {
        "torch": float((to_numpy(torch.exp(torch.from_numpy(x))) != expected).mean()),
        "tf": float((to_numpy(tf.exp(x)) != expected).mean()),
    }


@check("D90")
def order_of_a_sum() -> Values:
    """Measure how far a sum of 784,000 numbers in [0, 1) is from its value in float64."""
    import tensorflow as tf
    import torch

    x = np.random.default_rng(0).random(784_000, dtype=np.float32)
    exact = x.astype(np.float64).sum()
    threads = torch.get_num_threads()
    values: Values = {"numpy": float(x.sum()) - exact}
    for count in (1, 2):
        torch.set_num_threads(count)
        values[f"torch, threads: {count}"] = torch.from_numpy(x).sum().item() - exact
    torch.set_num_threads(threads)
    values["tf"] = float(tf.reduce_sum(x)) - exact
    return values


@check("D91")
def rows_of_a_product() -> Values:
    """Measure whether 64 rows of a product of 512×784 and 784×10 change when computed alone."""
    import tensorflow as tf
    import torch

    x = draw(512, 784)
    weight = draw(784, 10, seed=1)
    torch_weight = torch.from_numpy(weight)
    torch_part = torch.from_numpy(x[:64]) @ torch_weight
    torch_all = torch.from_numpy(x) @ torch_weight
    return {
        "torch": _differ(torch_part, torch_all),
        "tf": _differ(tf.matmul(x[:64], weight), tf.matmul(x, weight)),
        "numpy": _differ(x[:64] @ weight, x @ weight),
    }


def _differ(part: Any, everything: Any) -> bool:
    return bool((to_numpy(part) != to_numpy(everything)[:64]).any())


@check("D92")
def compiled_by_default() -> Values:
    """Measure whether a compiled model uses XLA when nothing is asked for."""
    import keras

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return {f"keras on {keras.backend.backend()}": bool(model.jit_compile)}


@check("D93")
def implementations_of_adam() -> Values:
    """Measure the largest difference of three implementations from the loop after 50 steps."""
    import torch

    travels: dict[str, Array] = {}
    for name in ("loop", "foreach", "fused"):
        options = {"foreach": name == "foreach", "fused": name == "fused"}
        weight = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.Adam([weight], **options)
        gradients = [float(np.cos(step)) for step in range(50)]
        travels[name] = np.array(torch_travel(optimizer, weight, gradients))
    scale = np.abs(travels["loop"]).max()
    return {
        f"torch {name}, from the loop": float(np.abs(travels[name] - travels["loop"]).max()) / scale
        < 1e-6
        for name in ("foreach", "fused")
    }


@check("D94")
def epsilon_in_half() -> Values:
    """Measure a weight in float16 after a step of Adam with a gradient of 0."""
    import keras
    import torch

    weight = torch.zeros((), dtype=torch.float16, requires_grad=True)
    optimizer = torch.optim.Adam([weight], foreach=False)
    variable = keras.Variable(np.float16(0), dtype="float16")
    wider = torch.zeros((), dtype=torch.float16, requires_grad=True)
    return {
        "torch": torch_travel(optimizer, weight, [0.0])[0],
        "keras": keras_travel(keras.optimizers.Adam(), variable, [0.0])[0],
        "torch, eps=1e-4": torch_travel(torch.optim.Adam([wider], eps=1e-4), wider, [0.0])[0],
        "torch eps in float16": np.float16(optimizer.defaults["eps"]),
        "keras epsilon in float16": np.float16(keras.optimizers.Adam().epsilon),
    }


@check("D124")
def precision_of_layers() -> Values:
    """Measure what a layer whose kernel is 1 makes of 1 + 2⁻⁹, which bfloat16 rounds to 1."""
    import keras
    import torch

    x = np.full((1, 1), 1 + 2.0**-9, np.float32)
    linear = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(linear.weight)
    tensor = torch.from_numpy(x)
    values: Values = {"torch": linear(tensor)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values["torch, autocast"] = linear(tensor).float()
    values["torch, bfloat16()"] = linear.bfloat16()(tensor.bfloat16()).float()
    for policy in ("float32", "mixed_bfloat16"):
        dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", dtype=policy)
        values[f"keras, {policy}"] = keras.ops.cast(dense(x), "float32")
    return {name: to_numpy(value).item() for name, value in values.items()}


@check("D96")
def double_precision() -> Values:
    """Measure relative errors in float64: the first step of optimizers, and layers at 1."""
    import keras
    import torch
    from scipy.special import erf

    exact_gelu = (1 + erf(1 / 2**0.5)) / 2
    one = np.ones((1, 1))
    leaky = keras.layers.LeakyReLU(negative_slope=0.1, dtype="float64")
    tensor = torch.from_numpy(one)
    return {
        "torch Adam": _first_step_error("torch", "Adam"),
        "keras Adam": _first_step_error("keras", "Adam"),
        "torch LeakyReLU(0.1)": _relative(-torch.nn.LeakyReLU(0.1)(-tensor), 0.1),
        "keras LeakyReLU(0.1)": _relative(-leaky(-one), 0.1),
        "torch GELU": _relative(torch.nn.GELU()(tensor), exact_gelu),
        "keras GELU": _relative(keras.layers.Activation("gelu", dtype="float64")(one), exact_gelu),
        "keras Rescaling(1/255)": _relative(
            keras.layers.Rescaling(1 / 255, dtype="float64")(one), 1 / 255
        ),
    }


def _first_step_error(framework: str, name: str) -> float:
    """Return by how much a first step with the rate 0.5, epsilon 2⁻²⁰ and gradient 1 is off."""
    import keras
    import torch

    rate, epsilon = 0.5, 2.0**-20
    if framework == "torch":
        weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
        optimizer = getattr(torch.optim, name)([weight], lr=rate, eps=epsilon)
        return _relative(-torch_travel(optimizer, weight, [1.0])[0], rate / (1 + epsilon))
    variable = keras.Variable(np.float64(0), dtype="float64")
    keras_optimizer = getattr(keras.optimizers, name)(learning_rate=rate, epsilon=epsilon)
    effective = epsilon / (1 - 0.999) ** 0.5
    return _relative(-keras_travel(keras_optimizer, variable, [1.0])[0], rate / (1 + effective))


def _relative(value: Any, expected: float) -> float:
    """Return the relative error of a single number; 0 if it is the rounding of float64."""
    error = abs(float(to_numpy(value).item()) / expected - 1)
    return 0.0 if error < 1e-12 else error


@check("D123")
def gradient_of_compiled_code() -> Values:
    """Measure the gradient of a convolution in compiled code, over that without compilation."""
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    x = torch.from_numpy(draw(64, 1, 28, 28))
    sizes: list[float] = []
    for computes in (model, torch.compile(model)):
        model.zero_grad()
        computes(x).square().mean().backward()
        gradient = model[0].weight.grad
        assert gradient is not None
        sizes.append(float(gradient.norm()))
    return {"torch, gradient of compiled code over that of eager": sizes[1] / sizes[0]}
