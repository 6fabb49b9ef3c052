"""Dense networks: all steps of a plan in one call of a compiled function.

A network of Flatten, Dense, activations and Dropout is written as a table of units, which
`kernels.steps` interprets. Everything else goes through the objects of `layers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ...spec.recipe import Recipe
from .kernels import steps
from .kernels.activations import IDENTITY, sweep_address
from .layer import Layer
from .layers import LEAST_PRODUCTS, Dense, Elementwise, Flatten
from .loss import CompiledLoss
from .memory import Memory
from .optimizers import CompiledUpdate

Array = NDArray[Any]

SMALL_PRODUCT = 10**6  # multiplications up to which OpenBLAS, with AVX-512, copies no operand
NARROW = 64  # outputs; wider products are as fast in one piece
FEWEST_ROWS = 32  # smaller blocks are not worth the trouble
NO_MASKS = np.zeros(0, np.bool_)
MOST_ROWS = 1024  # samples in a block, so that what the units compute stays in the cache


@dataclass(frozen=True)
class Unit:
    """A dense layer with the activation and the dropout that follow it."""

    dense: Layer
    activation: Elementwise | None = None
    dropout: Elementwise | None = None


def find_units(layers: Sequence[Layer]) -> list[Unit] | None:
    """Return the units of a network; None if it has layers that no unit has.

    Parameters
    ----------
    layers : sequence of Layer
        In order of computation.
    """
    units: list[Unit] = []
    for i, layer in enumerate(layers):
        if type(layer) is Flatten and i == 0:
            continue
        if type(layer) is Elementwise and layer.code == IDENTITY and layer.scale == 1:
            continue  # a dropout with a rate of 0
        if type(layer) is Dense:
            units.append(Unit(layer))
        elif type(layer) is Elementwise and units and units[-1].dropout is None:
            before = units[-1]
            if layer.code == IDENTITY:
                units[-1] = Unit(before.dense, before.activation, layer)
            elif before.activation is None:
                units[-1] = Unit(before.dense, layer)
            else:
                return None
        else:
            return None
    return units


def block_rows(samples: int, shapes: Sequence[tuple[int, int]]) -> int:
    """Return how many samples of a share are computed at a time.

    Parameters
    ----------
    samples : int
        Of the share.
    shapes : sequence of (int, int)
        Inputs and outputs of each unit.
    """
    inputs, outputs = max(shapes, key=prod)
    most = MOST_ROWS
    if outputs <= NARROW:
        small = SMALL_PRODUCT // (inputs * outputs)
        most = min(most, small) if small >= FEWEST_ROWS else most
    blocks = max(1, -(-samples // most))
    return max(1, -(-samples // blocks))


class DenseSteps(Memory):
    """The steps of a dense network.

    Parameters
    ----------
    units : sequence of Unit
        What it computes.
    weights : ndarray, shape (parameters,)
        Of which the parameters of the layers are views, in order.
    slots : ndarray, shape (slots, parameters)
    kernels : ndarray of int, shape (kernels, 2)
        Where each kernel begins and ends in the flat arrays.
    loss : CompiledLoss
    update : CompiledUpdate
    recipe : Recipe
        Its penalty and its clipping count.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        weights: Array,
        slots: Array,
        kernels: NDArray[np.int64],
        loss: CompiledLoss,
        update: CompiledUpdate,
        recipe: Recipe,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.slots = slots
        self.kernels = kernels
        self.loss = loss
        self.update = update
        self.l2 = weights.dtype.type(recipe.loss.l2)
        self.clip = recipe.clip
        self.dropouts = [unit.dropout.name if unit.dropout else "" for unit in units]
        self.shapes: list[tuple[int, int]] = [u.dense.parameters["kernel"].shape for u in units]
        self.products = sum(prod(shape) for shape in self.shapes)
        self.table = np.zeros((len(units), 10), np.int64)
        self.numbers = np.zeros((len(units), 2), weights.dtype)
        self.work = np.zeros((0, 0), weights.dtype)  # memory of the shares
        self.layout = (0, 0)  # samples and shares that the memory is laid out for
        self.block = 0
        start = 0
        for unit, row, numbers in zip(units, self.table, self.numbers, strict=True):
            kernel = unit.dense.parameters["kernel"]
            row[steps.INPUTS], row[steps.OUTPUTS] = kernel.shape
            row[steps.KERNEL] = start
            row[steps.BIAS] = start + kernel.size
            row[steps.HAS_BIAS] = "bias" in unit.dense.parameters
            start += sum(array.size for array in unit.dense.parameters.values())
            code = unit.activation.code if unit.activation else IDENTITY
            row[steps.SWEEP] = sweep_address(code, weights.dtype.name)
            if unit.activation:
                numbers[steps.SLOPE] = unit.activation.slope
            if unit.dropout:
                row[steps.HAS_MASK] = True
                numbers[steps.SCALE] = unit.dropout.scale

    def share_count(self, samples: int) -> int:
        """Return how many threads share a step."""
        work = samples * self.products
        return max(1, min(numba.get_num_threads(), samples, work // LEAST_PRODUCTS))

    def prepare(self, samples: int, shares: int) -> int:
        """Lay out the memory of a share; return the number of samples in a block."""
        if self.layout == (samples, shares):
            return self.block
        block = block_rows(-(-samples // shares), self.shapes)
        start = 0
        for row in self.table:
            for column in (steps.Z, steps.Y, steps.DY):
                row[column] = start
                start += block * row[steps.OUTPUTS]
        self.work = self.reuse("work", (shares, start), self.weights.dtype)
        self.layout = (samples, shares)
        self.block = block
        return block

    def train(
        self,
        x: Array,
        labels: NDArray[np.int32],
        indices: NDArray[np.int32] | None,
        masks: dict[str, Array],
        divisors: NDArray[np.float64],
        rates: NDArray[np.float64],
        first_step: int,
    ) -> NDArray[np.float64]:
        """Make K steps; return their losses, shape (K,).

        Parameters
        ----------
        x, labels : ndarray, shape (samples, inputs) and (samples,)
            The whole split.
        indices : ndarray of int32, shape (K, B), or None
            The samples of each step; None for all.
        masks : dict of str to ndarray of bool, shape (K, B, features)
            What each dropout layer keeps, by its name.
        divisors : ndarray, shape (K,)
            Of each step's loss.
        rates : ndarray, shape (K,)
            The learning rates.
        first_step : int
            The number of the first step, from 1.
        """
        dtype = self.weights.dtype
        samples = len(x) if indices is None else indices.shape[1]
        if indices is None:
            indices = np.zeros((len(rates), 0), np.int32)
        shares = self.share_count(samples)
        block = self.prepare(samples, shares)
        flat_masks, first_masks = self.join(masks)
        coefficients = [
            self.update.coefficients(float(rate), first_step + k) for k, rate in enumerate(rates)
        ]
        losses = np.empty((len(rates), shares))
        make_steps = steps.dense_steps.for_shares(shares)
        make_steps(
            x,
            labels,
            np.ascontiguousarray(indices),
            flat_masks,
            first_masks,
            self.table,
            self.numbers,
            self.loss.code,
            self.loss.targets,
            divisors,
            self.update.address(dtype.name),
            np.array(coefficients, dtype),
            self.kernels,
            self.l2,
            self.clip.by == "value",
            self.clip.limit or 0.0,
            self.clip.epsilon,
            self.weights,
            self.reuse("gradients", (shares, self.weights.size), dtype),
            self.slots,
            self.reuse("batches", (shares, block, x.shape[1]), dtype),
            self.reuse("labels", (shares, block), np.int32),
            self.work,
            losses,
        )
        return losses.sum(axis=1)

    def join(self, masks: dict[str, Array]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return all masks in one array, and where those of each unit begin."""
        arrays: list[Array] = []
        first = np.zeros(len(self.dropouts), np.int64)
        count = 0
        for u, name in enumerate(self.dropouts):
            if name:
                first[u] = count
                count += masks[name].size
                arrays.append(masks[name].reshape(-1))
        if len(arrays) == 1:
            return np.ascontiguousarray(arrays[0]), first
        return np.concatenate([NO_MASKS, *arrays]), first

    def logits(self, x: Array) -> Array:
        """Return the logits in evaluation mode, shape (samples, classes).

        Parameters
        ----------
        x : ndarray, shape (samples, inputs)
        """
        shares = self.share_count(len(x))
        block = self.prepare(len(x), shares)
        logits = np.empty((len(x), self.shapes[-1][1]), x.dtype)
        write_logits = steps.dense_logits.for_shares(shares)
        write_logits(x, NO_MASKS, self.table, self.numbers, self.weights, block, self.work, logits)
        return logits
