"""The state of a run: weights and optimizer slots as named arrays in the canonical layout.

Names are ``"hidden/kernel"`` for a weight, ``"hidden/kernel/velocity"`` for a slot, ``"step"`` for the count of updates.
"""

import numpy as np

from . import random
from .network import Network
from .recipe import Recipe

State = dict[str, np.ndarray]


def initial(network: Network, recipe: Recipe) -> State:
    """Return the state before the first step: He-uniform kernels, zero biases, zero slots.

    Parameters
    ----------
    network : Network
    recipe : Recipe
        Its seed decides the weights, its dtype their type: float32 weights are the float64 ones rounded once.

    Returns
    -------
    dict of str to ndarray
        In order of computation: weights, then each slot kind, then ``step`` (int64, shape ()) where the optimizer counts.
    """
    weights = {
        p.name: (random.he_uniform(p.shape, p.fan_in, recipe.seed, p.name) if p.fan_in else np.zeros(p.shape)).astype(recipe.dtype)
        for p in network.parameters
    }
    slots = {f"{name}/{slot}": np.zeros_like(w) for slot in recipe.optimizer.slots for name, w in weights.items()}
    step = {"step": np.zeros((), np.int64)} if recipe.optimizer.counts_steps else {}
    return weights | slots | step


def kind(name: str) -> str:
    """Return what sort of array a name stands for: ``weights``, ``step`` or the slot's own name."""
    parts = name.split("/")
    return "weights" if len(parts) == 2 else parts[-1]


def weights(state: State) -> State:
    """Return the weights alone."""
    return {name: array for name, array in state.items() if kind(name) == "weights"}


def cast(state: State, dtype: str) -> State:
    """Return a copy with every floating array in `dtype`."""
    return {name: a.astype(dtype) if a.dtype.kind == "f" else a.copy() for name, a in state.items()}


def check(state: State, network: Network, recipe: Recipe) -> State:
    """Return `state` if it has the names, shapes and dtypes of this run.

    Raises
    ------
    ValueError
        Naming the first array that does not fit, with both shapes or dtypes.
    """
    expected = initial(network, recipe)
    if missing := [name for name in expected if name not in state]:
        raise ValueError(f"state lacks {missing[0]!r}")
    if extra := [name for name in state if name not in expected]:
        raise ValueError(f"state has {extra[0]!r}, which this network and optimizer do not")
    for name, array in expected.items():
        if state[name].shape != array.shape:
            raise ValueError(f"{name}: shape {state[name].shape} does not fit {array.shape}")
        if state[name].dtype != array.dtype:
            raise ValueError(f"{name}: dtype {state[name].dtype} is not {array.dtype}")
    return state
