"""The state of a run: weights, buffers and optimizer slots as named arrays in the canonical layout.

A weight has a name such as ``hidden/kernel``, a buffer ``norm/running_mean``, an optimizer slot
``hidden/kernel/velocity``. ``step`` is the number of updates that were made.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..spec.network import Network
from ..spec.placement import Parameter
from ..spec.recipe import Recipe
from .initialization import draw

State = dict[str, np.ndarray]


class ArrayType(NamedTuple):
    """The shape and the dtype that an array of a state must have.

    Attributes
    ----------
    shape : tuple of int
        In the canonical layout.
    dtype : dtype
        The recipe's, except int64 for ``step``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype


def arrays_of(network: Network, recipe: Recipe) -> dict[str, ArrayType]:
    """Return the shape and dtype of every array of a state, in order of computation.

    No array is allocated.
    """
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
    """Return the state before the first step, with every array as its initializer makes it.

    Parameters
    ----------
    network : Network
        Its parameters and buffers are drawn by their initializers.
    recipe : Recipe
        Its seed determines the weights. They are drawn in float64 and rounded once to its dtype.

    Returns
    -------
    dict of str to ndarray
        In order of computation: the weights, the buffers, the optimizer's slots kind by kind, then
        ``step`` (int64, shape ()) if the optimizer counts its steps.
    """
    weights = _draw(network.parameters, recipe)
    buffers = _draw(network.buffers, recipe)
    slots = {
        f"{name}/{slot}": np.full_like(w, recipe.optimizer.begin(slot))
        for slot in recipe.optimizer.slots
        for name, w in weights.items()
    }
    step = {"step": np.zeros((), np.int64)} if recipe.optimizer.counts_steps else {}
    return weights | buffers | slots | step


def _draw(parameters: Iterable[Parameter], recipe: Recipe) -> State:
    arrays: State = {}
    for p in parameters:
        array = draw(p.initializer, p.shape, p.fan_in, p.fan_out, recipe.seed, p.name)
        arrays[p.name] = array.astype(recipe.dtype)
    return arrays


def kind(name: str) -> str:
    """Return the kind of an array by its name.

    Returns
    -------
    str
        ``weights``, ``buffers``, ``step``, or the slot's name, for example ``velocity``.
    """
    parts = name.split("/")
    if len(parts) != 2:
        return parts[-1]
    return "buffers" if parts[1].startswith("running_") else "weights"


def weights(state: State) -> State:
    """Return the weights of a state, without buffers and slots."""
    return {name: array for name, array in state.items() if kind(name) == "weights"}


def without(arrays: State, parameters: frozenset[str]) -> State:
    """Return a state or a trace without some parameters, their slots and their gradients.

    Parameters
    ----------
    arrays : dict of str to ndarray
        A state, or what `Engine.trace` returns.
    parameters : frozenset of str
        Names such as ``hidden/bias``.
    """
    remaining: State = {}
    for name, array in arrays.items():
        layer_and_leaf = name.removeprefix("gradient/").split("/")[:2]
        if "/".join(layer_and_leaf) not in parameters:
            remaining[name] = array
    return remaining


def cast(state: State, dtype: str) -> State:
    """Return a copy of a state with every floating-point array in `dtype`."""
    return {name: a.astype(dtype) if a.dtype.kind == "f" else a.copy() for name, a in state.items()}


def check(
    state: State, network: Network, recipe: Recipe, expected: dict[str, ArrayType] | None = None
) -> State:
    """Return `state` if its names, shapes and dtypes fit a network and a recipe.

    Parameters
    ----------
    state : dict of str to ndarray
        The state to check.
    network : Network
        Its parameters and buffers must be in the state.
    recipe : Recipe
        Its optimizer's slots must be in the state; it also gives the dtype.
    expected : dict of str to ArrayType, optional
        The result of `arrays_of` for this network and recipe, if the caller already has it.

    Raises
    ------
    ValueError
        If an array is missing, superfluous, or of another shape or dtype. The message names the
        first such array.
    """
    expected = expected or arrays_of(network, recipe)
    for name in expected:
        if name not in state:
            raise ValueError(f"state lacks {name!r}")
    for name in state:
        if name not in expected:
            raise ValueError(f"state has {name!r}, which this network and optimizer do not")
    for name, array in expected.items():
        if state[name].shape != array.shape:
            raise ValueError(f"{name}: shape {state[name].shape} does not fit {array.shape}")
        if state[name].dtype != array.dtype:
            raise ValueError(f"{name}: dtype {state[name].dtype} is not {array.dtype}")
    return state
