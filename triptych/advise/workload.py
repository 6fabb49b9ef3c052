"""What one training step has to compute and to move, counted from the shapes alone: the same for every engine.

With B samples, a layer of `in` numbers a sample before it and `out` after it, |kernel| and |bias| its parameters:

* Dense, Conv2D: three products, y = x·W, ∂W = xᵀ·dy and ∂x = dy·Wᵀ, the last one only where something before the layer learns.
  Each is 2·m·k·n operations: (m, k, n) = (B, in, out) for a dense layer, and for a convolution, its windows laid out as rows,
  (B·rows·columns, size²·channels/groups, filters/groups), `groups` times. Each moves B·in + |kernel| + B·out numbers; the bias
  2·B·out forward and B·out backward.
* What is done number by number, read and written: activations 2·out and 3·out, dropout 3·out and 3·out (the mask among them), pooling
  in + out and again, BatchNorm and LayerNorm 3·out and 5·out (means first), the sum of a residual 3·out and 3·out, each B times; the first
  figure forward, the second backward and only where it is needed. Flatten moves nothing.
* The loss: 5·B·classes. Drawing the batch: 2·B·in of the first layer, nothing where every step sees all rows as they lie.
* The update: 3 numbers a parameter (weight, gradient, new weight) and 2 a slot.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from ..spec.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Pool,
    Residual,
)
from ..spec.network import Network
from ..spec.placement import Layer, PlacedLayer
from ..spec.recipe import Recipe

LOSS = 5
WEIGHT, SLOT = 3, 2
# Of each output, forward and backward.
NUMBERWISE: dict[type[Layer], tuple[int, int]] = {
    Dropout: (3, 3),
    BatchNorm: (3, 5),
    LayerNorm: (3, 5),
    Residual: (3, 3),
    Flatten: (0, 0),
}
ACTIVATION = (2, 3)


@dataclass(frozen=True)
class Product:
    """(m, k)·(k, n), `count` of them, which move so many `numbers` between them."""

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
    kind : str
        Its class: ``Dense``, ``Conv2D``, ``ReLU`` …
    products : tuple of Product
        Forward, ∂W, and ∂x where it is needed.
    numbers : int
        Read and written one by one, beside the products.
    """

    layer: str
    kind: str
    products: tuple[Product, ...]
    numbers: int


@dataclass(frozen=True)
class Arithmetic:
    """One training step.

    Attributes
    ----------
    works : tuple of Work
        Of each layer, in order of computation.
    batch : int
        Samples.
    drawn, loss, updated : int
        Numbers read and written when the batch is drawn, in the loss, and in the update.
    parameters : int
        Trained numbers.
    arrays : int
        Trained arrays.
    slots : tuple of str
        Of the optimizer, for each parameter.
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

    def products(self, kind: str) -> Iterator[Product]:
        """Yield the products of a kind of layer, ``Dense`` or ``Conv2D``."""
        return (product for work in self.works if work.kind == kind for product in work.products)

    def calls(self, kind: str) -> int:
        """How many layers of a kind there are."""
        return sum(work.kind == kind for work in self.works)

    @cached_property
    def dense(self) -> int:
        """Operations of the dense layers' products."""
        return _operations(self.products("Dense"))

    @cached_property
    def convolution(self) -> int:
        """Operations of the convolutions' products."""
        return _operations(self.products("Conv2D"))

    @property
    def operations(self) -> int:
        """Multiplications and additions of all products."""
        return self.dense + self.convolution

    @cached_property
    def activations(self) -> int:
        """Numbers read and written one by one: layers, loss, and the drawing of the batch."""
        return self.drawn + self.loss + sum(work.numbers for work in self.works)

    @property
    def bytes(self) -> int:
        """Bytes that are read and written, if nothing stayed in a cache from one product, layer or update to the next."""
        products = sum(product.numbers for work in self.works for product in work.products)
        return self.itemsize * (products + self.activations + self.updated)


def arithmetic(network: Network, recipe: Recipe, batch: int) -> Arithmetic:
    """Return what one training step of `batch` samples takes.

    Parameters
    ----------
    network : Network
    recipe : Recipe
        Its optimizer's slots, its dtype, and whether batches are drawn count.
    batch : int
        Samples a step; the size of the training split where the recipe says full.
    """
    return Arithmetic(
        works=tuple(_works(network.chain, batch, False)),
        batch=batch,
        drawn=0 if recipe.batch_size == "full" else 2 * batch * prod(network.input_shape),
        loss=LOSS * batch * network.classes,
        updated=(WEIGHT + SLOT * len(recipe.optimizer.slots)) * network.parameter_count,
        parameters=network.parameter_count,
        arrays=len(network.parameters),
        slots=recipe.optimizer.slots,
        itemsize=np.dtype(recipe.dtype).itemsize,
    )


def _works(places: Iterable[PlacedLayer], batch: int, into: bool) -> Iterator[Work]:
    """Yield the work of layers one after the other; `into` says whether something before them learns."""
    for place in places:
        for part in (place.branch, place.projection):
            yield from _works(part, batch, into)
        yield _work(place, batch, into or isinstance(place.layer, Residual))
        into = into or any(inner.parameters for inner in place.flat)


def _work(place: PlacedLayer, batch: int, into: bool) -> Work:
    layer, inputs, outputs = (
        place.layer,
        batch * prod(place.input_shape),
        batch * prod(place.output_shape),
    )
    kind = type(layer).__name__
    if isinstance(layer, Dense | Conv2D):
        return Work(
            layer.name, kind, _products(place, batch, into), 3 * outputs if layer.bias else 0
        )
    if isinstance(layer, Pool | GlobalAvgPool):
        return Work(layer.name, kind, (), (inputs + outputs) * (1 + into))
    forward, backward = NUMBERWISE.get(type(layer), ACTIVATION)
    needed = into or bool(place.parameters)
    return Work(layer.name, kind, (), outputs * (forward + (backward if needed else 0)))


def _products(place: PlacedLayer, batch: int, into: bool) -> tuple[Product, ...]:
    """Return y = x·W, ∂W = xᵀ·dy and, where it is needed, ∂x = dy·Wᵀ."""
    layer, kernel = place.layer, place.parameters[0].shape
    groups = layer.groups if isinstance(layer, Conv2D) else 1
    m, k, n = batch * prod(place.output_shape[:-1]), prod(kernel[:-1]), kernel[-1] // groups
    numbers = batch * prod(place.input_shape) + prod(kernel) + batch * prod(place.output_shape)
    shapes = ((m, k, n), (k, m, n), (m, n, k))[: 3 if into else 2]
    return tuple(Product(*shape, numbers, groups) for shape in shapes)


def _operations(products: Iterable[Product]) -> int:
    return sum(product.operations for product in products)
