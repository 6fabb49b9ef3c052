"""What a training step has to compute and to move, counted from shapes: the same for every engine.

Each layer tells what it does for one sample (`triptych.spec.placement.Layer`): `matrix_product`,
the product that it makes forward, and `traffic`, the numbers that it reads and writes one by one,
forward and backward. For a batch of B samples these become:

* A product (m, k)·(k, n) forward, and of the same size one for the gradient of the kernel and one
  for the gradient of the input; the last only if a layer before it has parameters. Each moves
  B·inputs + |kernel| + B·outputs numbers.
* B times the traffic; backward only if the layer or one before it has parameters.
* The loss: 5·B·classes numbers. Drawing the batch: 2·B·inputs; nothing if a step sees all rows.
* The update: 3 numbers a parameter (weight, gradient, new weight) and 2 for each of its slots.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from ..spec.network import Network
from ..spec.placement import PlacedLayer
from ..spec.recipe import Recipe

NUMBERS_OF_THE_LOSS = 5  # for each logit
NUMBERS_OF_A_WEIGHT = 3  # in an update
NUMBERS_OF_A_SLOT = 2


@dataclass(frozen=True)
class Product:
    """Matrix products (m, k)·(k, n).

    Attributes
    ----------
    m, k, n : int
        The sizes of each.
    numbers : int
        The numbers that all of them read and write together.
    count : int
        How many there are.
    """

    m: int
    k: int
    n: int
    numbers: int
    count: int = 1

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.m * self.k * self.n * self.count


@dataclass(frozen=True)
class Work:
    """What one layer does in one step.

    Attributes
    ----------
    layer : str
        The name of the layer.
    kind : str
        The name of its class.
    cost_kind : str
        As in `triptych.spec.placement.Layer`.
    products : tuple of Product
        Forward, for the kernel's gradient, and for the input's gradient if it is needed.
    numbers : int
        The numbers that are read and written one by one.
    """

    layer: str
    kind: str
    cost_kind: str
    products: tuple[Product, ...]
    numbers: int


@dataclass(frozen=True)
class Arithmetic:
    """What one training step does.

    Attributes
    ----------
    works : tuple of Work
        Of each layer, in order of computation.
    batch : int
        Samples.
    drawn, loss, updated : int
        Numbers read and written when the batch is drawn, in the loss, and in the update.
    parameters, arrays : int
        Trained numbers, and arrays of them.
    slots : tuple of str
        The optimizer's slots, each an array for every trained array.
    itemsize : int
        Bytes of a number.
    """

    works: tuple[Work, ...]
    batch: int
    drawn: int
    loss: int
    updated: int
    parameters: int
    arrays: int
    slots: tuple[str, ...]
    itemsize: int

    def of(self, cost_kind: str) -> list[Work]:
        """Return the works of a kind."""
        return [work for work in self.works if work.cost_kind == cost_kind]

    def products(self, cost_kind: str) -> list[Product]:
        """Return the products of the layers of a kind."""
        return [product for work in self.of(cost_kind) for product in work.products]

    @cached_property
    def dense(self) -> int:
        """Operations of the dense layers' products."""
        return sum(product.operations for product in self.products("dense"))

    @cached_property
    def convolution(self) -> int:
        """Operations of the convolutions' products."""
        return sum(product.operations for product in self.products("convolution"))

    @property
    def operations(self) -> int:
        """Multiplications and additions of all products."""
        return self.dense + self.convolution

    @cached_property
    def activations(self) -> int:
        """Numbers read and written one by one in layers and loss, and by drawing the batch."""
        return self.drawn + self.loss + sum(work.numbers for work in self.works)

    @property
    def bytes(self) -> int:
        """Bytes that are read and written if nothing stays in a cache."""
        products = sum(product.numbers for work in self.works for product in work.products)
        return self.itemsize * (products + self.activations + self.updated)


def arithmetic(network: Network, recipe: Recipe, batch: int) -> Arithmetic:
    """Return what one training step does.

    Parameters
    ----------
    network : Network
        The network.
    recipe : Recipe
        Its optimizer's slots, its dtype, and whether batches are drawn count.
    batch : int
        Samples of a step; the size of the training split if the recipe's batch size is full.
    """
    slots = recipe.optimizer.slots
    numbers_of_an_update = NUMBERS_OF_A_WEIGHT + NUMBERS_OF_A_SLOT * len(slots)
    return Arithmetic(
        works=tuple(_works(network.chain, batch, need_input_grad=False)),
        batch=batch,
        drawn=0 if recipe.batch_size == "full" else 2 * batch * prod(network.input_shape),
        loss=NUMBERS_OF_THE_LOSS * batch * network.classes,
        updated=numbers_of_an_update * network.parameter_count,
        parameters=network.parameter_count,
        arrays=len(network.parameters),
        slots=slots,
        itemsize=np.dtype(recipe.dtype).itemsize,
    )


def _works(places: Iterable[PlacedLayer], batch: int, need_input_grad: bool) -> Iterator[Work]:
    """Yield the works of consecutive layers; those inside a layer come before it."""
    for place in places:
        for inner in (place.branch, place.projection):
            yield from _works(inner, batch, need_input_grad)
        trained = any(inner.parameters for inner in place.flat)
        forward, backward = place.layer.traffic(place)
        numbers = forward + backward if need_input_grad or trained else forward
        products = _products(place, batch, need_input_grad)
        layer = place.layer
        kind = type(layer).__name__
        yield Work(layer.name, kind, layer.cost_kind, products, batch * numbers)
        need_input_grad = need_input_grad or trained


def _products(place: PlacedLayer, batch: int, need_input_grad: bool) -> tuple[Product, ...]:
    one = place.layer.matrix_product(place)
    if one is None:
        return ()
    m = batch * one.rows
    k = one.inner
    n = one.columns
    numbers = batch * prod(place.input_shape) + one.count * k * n + batch * prod(place.output_shape)
    shapes = [(m, k, n), (k, m, n)]
    if need_input_grad:
        shapes.append((m, n, k))
    return tuple(Product(*shape, numbers, one.count) for shape in shapes)
