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
from ..spec.optimizers import optimizer
from ..spec.placement import Layer, PlacedLayer
from ..spec.recipe import Recipe

RATE = 1e-4  # of a case that is timed: so small that no weight overflows
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
    layer : Layer
        The layer.
    products : tuple of Product
        Forward, for the kernel's gradient, and for the input's gradient if it is needed.
    numbers : int
        The numbers that are read and written one by one.
    """

    layer: Layer
    products: tuple[Product, ...]
    numbers: int


@dataclass(frozen=True)
class Case:
    """One training step of a network: what is timed and predicted, and what it has to do.

    Attributes
    ----------
    network : Network
        The network.
    recipe : Recipe
        How it is trained: its optimizer, its dtype, and whether batches are drawn.
    batch : int
        Samples of a step; the size of the training split if the recipe's batch size is full.
    """

    network: Network
    recipe: Recipe
    batch: int

    @classmethod
    def of(cls, network: Network, batch: int, name: str = "sgd", *, full: bool = False) -> "Case":
        """Return a case with an optimizer of that name; if `full`, every step sees all images."""
        size = "full" if full else batch
        return cls(network, Recipe(1, size, optimizer(name, RATE), random="free"), batch)

    @cached_property
    def works(self) -> tuple[Work, ...]:
        """The work of each layer, in order of computation."""
        return tuple(_works(self.network.chain, self.batch, need_input_grad=False))

    @property
    def layer_types(self) -> set[str]:
        """The names of the layers' classes."""
        return {type(work.layer).__name__ for work in self.works}

    def of_kind(self, cost_kind: str) -> list[Work]:
        """Return the works of the layers of a kind, as in `triptych.spec.placement.Layer`."""
        return [work for work in self.works if work.layer.cost_kind == cost_kind]

    def products(self, cost_kind: str) -> list[Product]:
        """Return the products of the layers of a kind."""
        return [product for work in self.of_kind(cost_kind) for product in work.products]

    @property
    def operations(self) -> int:
        """Multiplications and additions of all products."""
        return sum(product.operations for work in self.works for product in work.products)

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.recipe.dtype).itemsize

    @property
    def drawn(self) -> int:
        """Numbers read and written when the batch is drawn."""
        if self.recipe.batch_size == "full":
            return 0
        return 2 * self.batch * prod(self.network.input_shape)

    @property
    def loss(self) -> int:
        """Numbers read and written in the loss."""
        return NUMBERS_OF_THE_LOSS * self.batch * self.network.classes

    @property
    def updated(self) -> int:
        """Numbers read and written in the update."""
        each = NUMBERS_OF_A_WEIGHT + NUMBERS_OF_A_SLOT * len(self.recipe.optimizer.slots)
        return each * self.network.parameter_count

    @property
    def bytes(self) -> int:
        """Bytes that are read and written if nothing stays in a cache."""
        products = sum(product.numbers for work in self.works for product in work.products)
        in_layers = sum(work.numbers for work in self.works)
        return self.itemsize * (products + in_layers + self.drawn + self.loss + self.updated)


def _works(places: Iterable[PlacedLayer], batch: int, need_input_grad: bool) -> Iterator[Work]:
    """Yield the works of consecutive layers; those inside a layer come before it."""
    for place in places:
        for inner in (place.branch, place.projection):
            yield from _works(inner, batch, need_input_grad)
        trained = any(inner.parameters for inner in place.flat)
        forward, backward = place.layer.traffic(place)
        has_backward = need_input_grad or trained
        numbers = forward + backward if has_backward else forward
        yield Work(place.layer, _products(place, batch, need_input_grad), batch * numbers)
        need_input_grad = has_backward


def _products(place: PlacedLayer, batch: int, need_input_grad: bool) -> tuple[Product, ...]:
    one = place.layer.matrix_product(place)
    if one is None:
        return ()
    m = batch * one.rows
    k = one.inner
    n = one.columns
    samples = batch * (prod(place.input_shape) + prod(place.output_shape))
    shapes = [(m, k, n), (k, m, n)]
    if need_input_grad:
        shapes.append((m, n, k))
    return tuple(Product(*shape, samples + one.count * k * n, one.count) for shape in shapes)
