"""Gradients of a part of a batch, in a form that parts can be added.

A batch whose parts are computed by several workers has the gradient Σ gradients / Σ weights: sums
over samples are added, and divided once. A mean of the parts' means is another number as soon as
the parts have different sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..spec.network import Network
from ..spec.placement import Layer
from ..spec.recipe import Recipe
from .plan import Plan
from .state import State

# Takes an array of one worker and returns the sum of the arrays of all workers, in the same dtype.
# It may overwrite the array that it takes.
AllReduce = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SummedGradients:
    """What a part of a batch adds to a step.

    Attributes
    ----------
    gradients : dict of str to ndarray
        Of the loss summed over the samples of the part, by the name of the parameter, before
        penalty and clipping. The axes of an array have the same order in memory in every part, also
        in one without samples. The arrays are valid until the engine makes an update.
    loss : float
        The summed loss.
    weight : float
        What the sums of the whole batch are divided by, the part's share: its number of samples,
        or the sum of their class weights (`triptych.spec.losses.Loss.divisor`).
    """

    gradients: State
    loss: float
    weight: float

    @classmethod
    def zero(cls, network: Network, recipe: Recipe) -> "SummedGradients":
        """Return what a part without samples adds."""
        gradients = {p.name: np.zeros(p.shape, recipe.dtype) for p in network.parameters}
        return cls(gradients, 0.0, 0.0)

    def __add__(self, other: "SummedGradients") -> "SummedGradients":
        gradients = {
            name: gradient + other.gradients[name] for name, gradient in self.gradients.items()
        }
        return SummedGradients(gradients, self.loss + other.loss, self.weight + other.weight)

    @property
    def mean_gradients(self) -> State:
        """The gradients of the mean loss, which `Engine.update` takes."""
        return {name: gradient / self.weight for name, gradient in self.gradients.items()}

    @property
    def mean_loss(self) -> float:
        """The loss as `Engine.run` reports it."""
        return self.loss / self.weight

    def reduced(self, all_reduce: AllReduce) -> "SummedGradients":
        """Return the sum over all workers, by one call with one flat array.

        Parameters
        ----------
        all_reduce : callable
            Takes and returns an array of shape (parameters + 2,).
        """
        first = next(iter(self.gradients.values()))
        scalars = np.array([self.loss, self.weight], first.dtype)
        # In the order in which each array is in memory: turning a large matrix around, and back
        # afterwards, takes longer than adding it.
        flat = [gradient.ravel(order="K") for gradient in self.gradients.values()]
        total = all_reduce(np.concatenate([*flat, scalars]))
        gradients: State = {}
        start = 0
        for name, gradient in self.gradients.items():
            stop = start + gradient.size
            gradients[name] = _in_order_of(gradient, total[start:stop])
            start = stop
        return SummedGradients(gradients, float(total[-2]), float(total[-1]))


def _in_order_of(like: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Return a flat array in the shape of another one, from which ``ravel(order="K")`` made it."""
    axes = sorted(range(like.ndim), key=lambda axis: -like.strides[axis])
    return flat.reshape([like.shape[axis] for axis in axes]).transpose(np.argsort(axes))


def sum_over_workers(all_reduce: AllReduce | None, *vectors: np.ndarray) -> list[np.ndarray]:
    """Return the sums of some vectors over all workers, by one call.

    Parameters
    ----------
    all_reduce : callable or None
        None if there is one worker, whose vectors are returned.
    *vectors : ndarray, shape (count,)
        Of one dtype.
    """
    if all_reduce is None:
        return list(vectors)
    total = all_reduce(np.concatenate(vectors))
    return np.split(total, np.cumsum([vector.size for vector in vectors])[:-1])


def weights_of_steps(
    network: Network, recipe: Recipe, labels: NDArray[np.int32], plan: Plan
) -> NDArray[np.float64]:
    """Return what the summed loss of each step is divided by, shape (steps,).

    Parameters
    ----------
    network, recipe
        What is trained, and how.
    labels : ndarray of int, shape (samples,)
        The classes of the split.
    plan : Plan
        K steps, or a part of them.
    """
    indices = np.arange(len(labels))[None] if plan.indices is None else plan.indices
    weights = [recipe.loss.divisor(labels[rows], network.classes) for rows in indices]
    return np.resize(weights, len(plan))


def check_synchronised(
    label: str, network: Network, synchronised: tuple[type[Layer], ...] = ()
) -> None:
    """Raise `EngineError` for a layer that couples the samples of a batch over all workers.

    Parameters
    ----------
    label : str
        The framework's name in messages, for example ``PyTorch``.
    network : Network
        The network that several workers are to train.
    synchronised : tuple of type of Layer
        The classes of layers whose statistics the engine can take over all workers.
    """
    for place in network.places:
        layer = place.layer
        if layer.couples_batch and type(layer) not in synchronised:
            raise EngineError(
                f"{label} has no synchronised {type(layer).__name__} ({layer.name!r}), so several "
                "workers would compute another network; use one worker, or an engine that has it"
            )
