"""Initializers against their formulas, and against what the frameworks' own initializers and layers
begin with.
"""

from itertools import pairwise
from math import erf, sqrt
from typing import Any

import numpy as np
import pytest

from triptych.core import initialization, state
from triptych.core.initialization import CUT, KEPT, draw
from triptych.errors import SpecError
from triptych.spec.conventions import FRAMEWORKS
from triptych.spec.initializers import KERNELS
from triptych.spec.layers import (
    GELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    LayerNorm,
    LeakyReLU,
    Residual,
)
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

SHAPE, FAN_IN, FAN_OUT = (
    (500, 400),
    500,
    400,
)  # 200,000 numbers: four standard errors of a deviation are at most 0.7 %
VARIANCES = {
    "he": 2 / FAN_IN,
    "glorot": 2 / (FAN_IN + FAN_OUT),
    "lecun": 1 / FAN_IN,
    "torch": 1 / (3 * FAN_IN),
}
BOUNDS = {"uniform": sqrt(3), "truncated": CUT / KEPT}  # in standard deviations


def deviation(name: str) -> float:
    return sqrt(VARIANCES[name.partition("_")[0]])


@pytest.mark.parametrize("name", KERNELS)
def test_variance_and_bounds_are_those_of_the_formula(name: str):
    w = draw(name, SHAPE, FAN_IN, FAN_OUT, 0, "w") / deviation(name)
    assert w.dtype == np.float64
    assert abs(w.std() - 1) < 0.007
    assert abs(w.mean()) < 4 / sqrt(w.size)
    if bound := BOUNDS.get(name.partition("_")[2]):
        assert 0.99 * bound < np.abs(w).max() <= bound
    else:
        assert 4 < np.abs(w).max() < 7  # of 200,000 normal numbers


@pytest.mark.parametrize("name", KERNELS)
def test_it_is_a_pure_function_of_seed_and_name(name: str):
    def begun(*key: int | str) -> np.ndarray:
        return draw(name, (6, 5), 6, 5, *key)

    assert np.array_equal(begun(0, "w"), begun(0, "w"))
    assert not np.isin(begun(0, "w"), [begun(1, "w"), begun(0, "v")]).any()


@pytest.mark.parametrize("how", ["uniform", "normal", "truncated"])
def test_the_distribution_is_the_one_it_is_called(how: str):
    """By Kolmogorov and Smirnov: 1.95/√n is passed once in a thousand times."""
    stats = pytest.importorskip("scipy.stats")
    w = draw(f"he_{how}", SHAPE, FAN_IN, FAN_OUT, 0, "w").ravel() / deviation("he")
    known = {
        "uniform": stats.uniform(-sqrt(3), 2 * sqrt(3)),
        "normal": stats.norm(),
        "truncated": stats.truncnorm(-CUT, CUT, scale=1 / KEPT),
    }
    assert stats.kstest(w, known[how].cdf).statistic < 1.95 / sqrt(w.size)
    assert pytest.approx(stats.truncnorm(-CUT, CUT).std(), rel=1e-12) == KEPT


KERAS = {
    f"{family}_{how}": f"{title}{own}"
    for family, title in (("he", "He"), ("glorot", "Glorot"), ("lecun", "Lecun"))
    for how, own in (("uniform", "Uniform"), ("truncated", "Normal"))
}
TORCH = {
    "he_normal": "kaiming_normal_",
    "he_uniform": "kaiming_uniform_",
    "glorot_normal": "xavier_normal_",
    "glorot_uniform": "xavier_uniform_",
}


def alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Of two samples of 200,000: deviations to 1 %, largest values to 1 % where there is a bound,
    to 25 % where there is none.
    """
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)
    bounded = np.abs(theirs).max() < 3 * theirs.std()
    assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01 if bounded else 0.25)


@pytest.mark.parametrize(("name", "own"), KERAS.items())
def test_as_keras_draws(name: str, own: str):
    keras = pytest.importorskip("keras")
    alike(
        draw(name, SHAPE, FAN_IN, FAN_OUT, 0, "w"),
        np.asarray(getattr(keras.initializers, own)(seed=0)(SHAPE)),
    )


@pytest.mark.parametrize(("name", "own"), TORCH.items())
def test_as_torch_draws(name: str, own: str):
    torch = pytest.importorskip("torch")
    linear = torch.empty(*SHAPE[::-1])  # (out, in)
    more = {"nonlinearity": "relu"} if own.startswith("kaiming") else {}
    getattr(torch.nn.init, own)(linear, **more, generator=torch.Generator().manual_seed(0))
    alike(draw(name, SHAPE, FAN_IN, FAN_OUT, 0, "w"), linear.numpy())


def test_a_truncated_normal_is_drawn_again_until_nothing_is_outside(monkeypatch):
    calls = []
    once = initialization._normal
    monkeypatch.setattr(
        initialization, "_normal", lambda shape, *rest: calls.append(shape) or once(shape, *rest)
    )
    draw("he_truncated", (100, 100), 100, 100, 0, "w")
    assert calls[0] == (100, 100)
    assert len(calls) > 1
    assert all(a[0] > b[0] for a, b in pairwise(calls[1:]))  # fewer every time


# --- What each framework's layers begin with and compute by default
# ---------------------------------------------------

WIDE = Network(
    "wide",
    (9, 9, 64),
    (
        *(
            Conv2D("conv", 96, 3),
            BatchNorm("batch", 0.3, 0.3),
            LeakyReLU("leaky", 0.5),
            GELU("gelu", "tanh"),
            LayerNorm("layer", 0.3),
        ),
        *(
            Conv2D("grouped", 96, 3, groups=4),
            Residual("residual", (Conv2D("inner", 96, 1),)),
            AvgPool2D("pool"),
            Flatten("flatten"),
        ),
        *(Dense("hidden", 300), Dense("output", 10)),
    ),
)


def own_layers(framework: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias of each weighted layer as the framework makes it."""
    if framework == "torch":
        import torch
        from torch import nn

        with torch.random.fork_rng():
            torch.manual_seed(0)
            made: dict[str, Any] = {
                "conv": nn.Conv2d(64, 96, 3),
                "grouped": nn.Conv2d(96, 96, 3, groups=4),
            }
            made |= {
                "inner": nn.Conv2d(96, 96, 1),
                "hidden": nn.Linear(384, 300),
                "output": nn.Linear(300, 10),
            }
        return {
            name: (layer.weight.detach().numpy(), layer.bias.detach().numpy())
            for name, layer in made.items()
        }
    import keras

    keras.utils.set_random_seed(
        0
    )  # each layer draws a seed of its own: now and then one is further off than the bounds below
    layer = keras.layers
    made = {
        "conv": (layer.Conv2D(96, 3), 64),
        "grouped": (layer.Conv2D(96, 3, groups=4), 96),
        "inner": (layer.Conv2D(96, 1), 96),
    }
    for one, channels in made.values():
        one.build((None, 9, 9, channels))
    dense = {"hidden": (layer.Dense(300), 384), "output": (layer.Dense(10), 300)}
    for one, inputs in dense.values():
        one.build((None, inputs))
    return {
        name: (np.asarray(one.kernel), np.asarray(one.bias))
        for name, (one, _) in (made | dense).items()
    }


@pytest.mark.parametrize("framework", list(FRAMEWORKS))
def test_like_a_framework_begins_as_its_layers_do(framework: str):
    pytest.importorskip(framework)
    begun = state.initial(WIDE.like(framework), Recipe())
    for name, (kernel, bias) in own_layers(framework).items():
        ours = begun[f"{name}/kernel"]
        assert ours.size == kernel.size
        assert np.abs(ours).max() == pytest.approx(np.abs(kernel).max(), rel=0.01), name
        assert ours.std() == pytest.approx(kernel.std(), rel=0.03), name
        # PyTorch's biases are uniform and few: to the bound, which the kernel has, too.
        assert bool(begun[f"{name}/bias"].any()) == bool(bias.any()) == (framework == "torch"), name
        assert np.abs(begun[f"{name}/bias"]).max() <= np.abs(kernel).max() * 1.01, name
        assert np.abs(bias).max() <= np.abs(kernel).max() * 1.01, name
    assert state.initial(WIDE, Recipe())["hidden/kernel"].std() != pytest.approx(
        begun["hidden/kernel"].std(), rel=0.03
    )


def test_like_torch_computes_with_its_layers_numbers():
    torch = pytest.importorskip("torch")
    layers = {place.layer.name: place.layer for place in WIDE.like("torch").places}
    batch = torch.nn.BatchNorm1d(1)
    batch(torch.tensor([[0.0], [2.0]]))
    stored = (batch.running_var.item() - 0.9) / 0.1  # of the values 0 and 2: 1, or unbiased 2
    assert layers["batch"] == BatchNorm(
        "batch", batch.momentum, batch.eps, stored == pytest.approx(2, rel=1e-5)
    )
    assert layers["layer"] == LayerNorm("layer", torch.nn.LayerNorm(1).eps)
    assert layers["leaky"] == LeakyReLU("leaky", torch.nn.LeakyReLU().negative_slope)
    assert layers["gelu"] == GELU("gelu", {"none": "erf"}[torch.nn.GELU().approximate])


def test_like_keras_computes_with_its_layers_numbers():
    own = pytest.importorskip("keras").layers
    layers = {place.layer.name: place.layer for place in WIDE.like("keras").places}
    batch = own.BatchNormalization()
    batch(np.array([[0.0], [2.0]]), training=True)
    stored = (np.asarray(batch.moving_variance)[0] - 0.99) / 0.01
    assert layers["batch"] == BatchNorm(
        "batch",
        round(1 - batch.momentum, 12),
        batch.epsilon,
        bool(stored == pytest.approx(2, rel=1e-3)),
    )
    assert stored == pytest.approx(1, rel=1e-3)
    assert layers["layer"] == LayerNorm("layer", own.LayerNormalization().epsilon)
    assert layers["leaky"] == LeakyReLU("leaky", round(float(own.LeakyReLU().negative_slope), 7))
    x = np.linspace(-3, 3, 13)
    exact = [v / 2 * (1 + erf(v / sqrt(2))) for v in x]
    assert np.allclose(
        np.asarray(own.Activation("gelu")(x)), exact, rtol=0, atol=1e-5
    )  # the approximation is up to 5e-4 off
    assert layers["gelu"] == GELU("gelu", "erf")


def test_like_another_framework_is_refused():
    with pytest.raises(SpecError, match="did you mean 'keras'"):
        WIDE.like("kears")
