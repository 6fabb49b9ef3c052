"""The state of a run: weights and optimizer slots as named arrays in the canonical layout.

Names are ``"hidden/kernel"`` for a weight, ``"norm/running_mean"`` for a buffer, ``"hidden/kernel/velocity"`` for a slot,
``"step"`` for the count of updates.
"""

from typing import NamedTuple

import numpy as np

from ..spec.network import Network
from ..spec.recipe import Recipe
from .initialization import draw

State = dict[str, np.ndarray]


class ArrayType(NamedTuple):
    """What an array of a state must be.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    shape: tuple[int, ...]
    dtype: np.dtype


def arrays_of(network: Network, recipe: Recipe) -> dict[str, ArrayType]:
    """Return what every array of a state must be, in order of computation; takes no memory for any of them."""
    dtype = np.dtype(recipe.dtype)
    weights = {p.name: ArrayType(tuple(p.shape), dtype) for p in network.parameters}
    buffers = {p.name: ArrayType(tuple(p.shape), dtype) for p in network.buffers}
    slots = {
        f"{name}/{slot}": array
        for slot in recipe.optimizer.slots
        for name, array in weights.items()
    }
    step = {"step": ArrayType((), np.dtype(np.int64))} if recipe.optimizer.counts_steps else {}
    return weights | buffers | slots | step


def initial(network: Network, recipe: Recipe) -> State:
    """Return the state before the first step: every array as its initializer has it.

    Parameters
    ----------
    network : Network
    recipe : Recipe
        Its seed decides the weights, its dtype their type: float32 weights are the float64 ones rounded once.

    Returns
    -------
    dict of str to ndarray
        In order of computation: weights, buffers, then each slot kind, then ``step`` (int64, shape ()) where the optimizer counts.
    """
    weights, buffers = (
        {
            p.name: draw(p.initializer, p.shape, p.fan_in, p.fan_out, recipe.seed, p.name).astype(
                recipe.dtype
            )
            for p in part
        }
        for part in (network.parameters, network.buffers)
    )
    slots = {
        f"{name}/{slot}": np.full_like(w, recipe.optimizer.begin(slot))
        for slot in recipe.optimizer.slots
        for name, w in weights.items()
    }
    step = {"step": np.zeros((), np.int64)} if recipe.optimizer.counts_steps else {}
    return weights | buffers | slots | step


def kind(name: str) -> str:
    """Return what sort of array a name stands for: ``weights``, ``buffers``, ``step`` or the slot's own name."""
    parts = name.split("/")
    if len(parts) != 2:
        return parts[-1]
    return "buffers" if parts[1].startswith("running_") else "weights"


def weights(state: State) -> State:
    """Return the weights alone."""
    return {name: array for name, array in state.items() if kind(name) == "weights"}


def without(arrays: State, parameters: frozenset[str]) -> State:
    """Return a state or a trace without some parameters, their slots and their gradients."""
    return {
        k: a
        for k, a in arrays.items()
        if "/".join(k.removeprefix("gradient/").split("/")[:2]) not in parameters
    }


def cast(state: State, dtype: str) -> State:
    """Return a copy with every floating array in `dtype`."""
    return {name: a.astype(dtype) if a.dtype.kind == "f" else a.copy() for name, a in state.items()}


def check(
    state: State, network: Network, recipe: Recipe, expected: dict[str, ArrayType] | None = None
) -> State:
    """Return `state` if it has the names, shapes and dtypes of this run.

    Parameters
    ----------
    state : dict of str to ndarray
    network : Network
    recipe : Recipe
    expected : dict of str to ArrayType, optional
        What `arrays_of` returns for them, where it is known already.

    Raises
    ------
    ValueError
        Naming the first array that does not fit, with both shapes or dtypes.
    """
    expected = expected or arrays_of(network, recipe)
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
