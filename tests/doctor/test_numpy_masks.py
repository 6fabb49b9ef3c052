"""Dropout that users write with NumPy, against the frameworks' own."""

# ruff: noqa: NPY002 - users draw from NumPy's old functions

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from keras import layers, ops  # noqa: E402
from torch import nn  # noqa: E402

from triptych.doctor.diagnosis import diagnose  # noqa: E402
from triptych.doctor.frameworks.adapter import ModelError  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.slow]

RNG = np.random.default_rng(5)
BATCH = {"x": RNG.normal(size=(16, 5)).astype(np.float32), "y": RNG.integers(0, 3, 16)}

NOISE = "noise"  # in place of dropout, that of Keras

Dropping = Callable[[Any], Any]


class TorchDropping(nn.Module):
    def __init__(self, drop: Dropping, always: bool) -> None:
        super().__init__()
        self.drop, self.always = drop, always
        self.rng = np.random.default_rng(0)

    def forward(self, x: Any) -> Any:
        return self.drop(self, x) if self.training or self.always else x


class KerasDropping(layers.Layer):
    def __init__(self, drop: Dropping, always: bool) -> None:
        super().__init__(name="dropping")
        self.drop, self.always = drop, always

    def call(self, x: Any, training: bool = False) -> Any:
        return self.drop(self, x) if training or self.always else x


def diagnosed(in_torch: Any, in_keras: Any, *, always: bool = False) -> Any:
    """Compare two models; a function is dropout by hand, a number the framework's rate."""

    def torch_side() -> Any:
        drop = nn.Dropout(in_torch) if isinstance(in_torch, float) else None
        model = nn.Sequential(
            nn.Linear(5, 8), drop or TorchDropping(in_torch, always), nn.Linear(8, 3)
        )
        return {"model": model, "loss": nn.CrossEntropyLoss()}

    def keras_side() -> Any:
        drop = layers.Dropout(in_keras) if isinstance(in_keras, float) else None
        if in_keras == NOISE:
            drop = layers.GaussianNoise(0.1)
        parts = [layers.Dense(8), drop or KerasDropping(in_keras, always), layers.Dense(3)]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        class Net(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.parts = parts

            def call(self, x: Any, training: bool = False) -> Any:
                for part in self.parts:
                    x = part(x, training=training) if part is parts[1] else part(x)
                return x

        return {"model": Net(), "loss": loss}

    builds = (("A", torch_side), ("B", keras_side))
    sides = [local_side(name, Parts(Path(__file__), build)) for name, build in builds]
    return diagnose(sides[0], sides[1], BATCH)


def by_torch(own: Any, x: Any) -> Any:
    mask = (np.random.rand(*x.shape) > 0.5).astype(np.float32)
    return x * torch.from_numpy(mask) / 0.5


def of_generator(own: Any, x: Any) -> Any:
    keep = own.rng.random(tuple(x.shape)) >= 0.5
    return torch.where(torch.tensor(keep), x / 0.5, torch.zeros(()))


def by_keras(own: Any, x: Any) -> Any:
    mask = np.random.binomial(1, 0.5, size=tuple(x.shape)).astype("float32")
    return x * mask / 0.5


def chosen(own: Any, x: Any) -> Any:
    dropped = ops.convert_to_tensor(np.random.uniform(size=tuple(x.shape)) < 0.5)
    return ops.where(dropped, 0.0, x) / 0.5


@pytest.mark.parametrize(
    ("in_torch", "in_keras"),
    [(by_torch, 0.5), (of_generator, 0.5), (0.5, by_keras), (0.5, chosen), (by_torch, by_keras)],
)
def test_a_mask_of_numpy_is_that_of_a_dropout(in_torch: Any, in_keras: Any) -> None:
    diagnosis = diagnosed(in_torch, in_keras)
    assert diagnosis.verdict in ("equal", "rounding"), diagnosis.findings


def test_another_rate_is_named() -> None:
    (finding,) = diagnosed(by_torch, 0.2).findings
    assert finding.stage == "mode"
    assert finding.values == {"a": pytest.approx(0.5), "b": 0.2}


@pytest.mark.parametrize(
    ("in_torch", "in_keras", "side"), [(by_torch, 0.5, "a"), (0.5, by_keras, "b")]
)
def test_a_mask_that_stays_on_in_evaluation_is_named(
    in_torch: Any, in_keras: Any, side: str
) -> None:
    finding = diagnosed(in_torch, in_keras, always=True).findings[0]
    assert (finding.stage, finding.cause, finding.proved) == ("mode", "D98", True)
    assert finding.layer[side] is not None
    assert finding.layer[side].startswith("np.random.")


def permuted(own: Any, x: Any) -> Any:
    return x[:, np.random.permutation(x.shape[1])]


def test_what_stays_random_in_training_is_told() -> None:
    diagnosis = diagnosed(permuted, 0.0)
    assert diagnosis.verdict == "undecided"
    titles = [finding.title for finding in diagnosis.findings]
    assert any("draws numbers by np.random.permutation, which stay random" in t for t in titles)


def test_what_stays_random_in_evaluation_is_refused_with_its_function() -> None:
    with pytest.raises(ModelError, match=r"np\.random\.permutation draws numbers in it"):
        diagnosed(permuted, 0.5, always=True)


def test_noise_of_numpy_is_that_of_a_layer_of_noise() -> None:
    def noisy(own: Any, x: Any) -> Any:
        noise = np.random.normal(0.0, 0.1, size=tuple(x.shape))
        return x + torch.as_tensor(noise, dtype=x.dtype)

    assert diagnosed(noisy, NOISE).verdict in ("equal", "rounding")
