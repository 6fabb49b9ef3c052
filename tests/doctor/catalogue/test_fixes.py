"""The fixes that configure a layer, a loss or an optimizer exist with these arguments."""

import math
from typing import Any

import numpy as np
import pytest

from triptych.doctor import catalogue

pytest.importorskip("torch")
pytest.importorskip("tensorflow")

pytestmark = pytest.mark.framework

CONFIGURED = (
    "nn.",
    "optim.",
    "lr_scheduler.",
    "layers.",
    "losses.",
    "optimizers.",
    "initializers.",
    "regularizers.",
    "callbacks.",
    "schedules.",
    "keras.metrics.",
    "DataLoader(",
)
FIXES = {
    f"{entry.id}-{side}": fix
    for entry in catalogue.entries().values()
    for side, fix in (("torch", entry.fix_torch), ("keras", entry.fix_keras))
    if fix and fix.startswith(CONFIGURED) and not fix.startswith(("nn.utils", "nn.functional"))
}


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return what the lines of the fixes refer to."""
    import keras
    import tensorflow as tf
    import torch
    from torch import nn

    params = [torch.zeros(1, requires_grad=True)]
    numbers = {
        "fan_in": 100,
        "units": 3,
        "filters": 4,
        "channels": 4,
        "features": 8,
        "groups": 2,
        "heads": 2,
        "hidden": 4,
        "size": 8,
        "words": 10,
        "pad": 0,
        "limit": 1.0,
        "lr": 0.1,
        "c": 0.1,
        "decay": 0.1,
        "weight_decay": 0.1,
        "patience": 3,
        "best": 0.5,
        "boundary": 3,
        "milestone": 3,
        "rates": [1.0, 0.1],
        "eta_min": 0.01,
        "steps": 10,
        "warmup_steps": 5,
        "epochs": 2,
        "batches_per_epoch": 10,
        "gamma": 0.5,
        "bound": 0.1,
        "s": 0.1,
    }
    modules = {
        "math": math,
        "np": np,
        "torch": torch,
        "nn": nn,
        "F": nn.functional,
        "optim": torch.optim,
        "lr_scheduler": torch.optim.lr_scheduler,
        "DataLoader": torch.utils.data.DataLoader,
        "keras": keras,
        "tf": tf,
        "layers": keras.layers,
        "losses": keras.losses,
        "optimizers": keras.optimizers,
        "initializers": keras.initializers,
        "regularizers": keras.regularizers,
        "callbacks": keras.callbacks,
        "schedules": keras.optimizers.schedules,
    }
    objects = {
        "params": params,
        "optimizer": torch.optim.SGD(params, lr=0.1),
        "dataset": list(range(64)),
        "layer": nn.Linear(8, 8),
        "w": torch.zeros(8, 8),
        "u": keras.initializers.RandomUniform(-0.1, 0.1),
        "x": np.ones((1, 8, 8, 4), np.float32),
        "y_true": np.full((2, 3), 1 / 3, np.float32),
        "y_pred": np.full((2, 3), 1 / 3, np.float32),
        "target": np.ones((2, 1), np.float32),
        "prediction": np.full((2, 1), 0.5, np.float32),
    }
    return {**numbers, **modules, **objects}


# They are about an attention or a sequence that is not made here.
UNTRIED = {"D109-keras", "D104-keras", "D117-torch", "D98-keras"}


@pytest.mark.parametrize("name", sorted(set(FIXES) - UNTRIED))
def test_a_fix_is_accepted(name: str, names: dict[str, Any]):
    assert eval(FIXES[name], dict(names)) is not None


def test_most_fixes_are_tried():
    assert len(FIXES) - len(UNTRIED) > 90
