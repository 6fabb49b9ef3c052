"""Attention at a place where the sides differ: inside a layer, or written between other layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .attention import Way, explain, masks_of, possible_heads
from .examination import Examination, Pair
from .observation import Array, Arrays, Observation, array_names
from .places import LAYER, Place
from .trials import Trials

PROJECTIONS = ("query", "key", "value")


@dataclass(frozen=True)
class Given:
    """What both sides had before their attention.

    Attributes
    ----------
    projections : tuple of ndarray
        Three arrays (batch, time, features).
    after : callable
        The projection afterwards.
    heads : tuple of int
        Numbers of heads that are possible.
    calls : tuple of int
        The numbers of B's calls that have made the projections, where each is a layer.
    """

    projections: tuple[Array, ...]
    after: Callable[[Array], Array]
    heads: tuple[int, ...]
    calls: tuple[int, ...] = ()

    def ways(
        self, targets: Sequence[Array], inputs: Arrays, tolerance: float
    ) -> tuple[Way, ...] | None:
        """Return in which way each side has made its numbers of these, or None.

        Parameters
        ----------
        targets : sequence of ndarray, shape (batch, queries, features)
            What each side has.
        inputs : dict of str to ndarray
            The model's inputs, which may hide positions.
        tolerance : float
            The largest relative difference of what counts as reproduced.
        """
        masks = masks_of(inputs)
        return explain(self.projections, targets, self.heads, masks, self.after, tolerance)


def attention_ways(
    examination: Examination, trials: Trials, place: Place, tolerance: float
) -> tuple[Way, Way] | None:
    """Return how A and B compute their attention at a place, or None.

    Parameters
    ----------
    examination : Examination
        The comparison.
    trials : Trials
        Both sides' runs in evaluation mode.
    place : Place
        Where they differ.
    tolerance : float
        The largest relative difference of what counts as reproduced.
    """
    forced = trials.alignment.forced(trials.a)
    inputs = examination.alignment.inputs_to_b(examination.a_inputs)
    for name, a in place.expected.items():
        b = trials.b.arrays.get(name)
        if b is None or a.ndim != 3 or b.shape != a.shape:
            continue
        pair = place.pair
        if place.what == LAYER and pair is not None and pair.b.kind == "attention":
            given = [_of_layer(examination, pair, array_names(forced, str(place.b_number)))]
        elif place.what != LAYER:
            given = between_layers(trials.b, place.b_number, forced, a.shape[-1])
        else:
            continue
        for each in given:
            found = each.ways((a, b), inputs, tolerance)
            if found is not None:
                return found[0], found[1]
    return None


def _of_layer(examination: Examination, pair: Pair, parts: Arrays) -> Given:
    """Return the projections of a layer that has its own, computed from its inputs."""
    weights = examination.alignment.weights_to_b(examination.a_weights)
    of_layer = array_names(weights, pair.b.path)
    names = [name for name in ("input", "input1", "input2") if name in parts]
    # An array that is given several times is one input; key and value are often the same.
    arrays = [parts[names[min(place, len(names) - 1)]] for place in range(3)]
    projections = tuple(
        _projected(np.asarray(array, np.float64), of_layer, role)
        for array, role in zip(arrays, PROJECTIONS, strict=True)
    )
    heads = dict.fromkeys(layer.settings.get("heads", 1) for layer in (pair.a, pair.b))
    return Given(projections, lambda made: _projected(made, of_layer, "output"), tuple(heads))


def _projected(array: Array, weights: Arrays, role: str) -> Array:
    return array @ weights[f"{role}_kernel"] + weights.get(f"{role}_bias", 0.0)


def between_layers(b: Observation, number: int, forced: Arrays, features: int) -> list[Given]:
    """Return what may be projections among the outputs of the layers before a call.

    Parameters
    ----------
    b : Observation
        Of B.
    number : int
        The number of B's call.
    forced : dict of str to ndarray
        What B's layers are forced to.
    features : int
        The features of what attention returns.
    """
    before = [
        (call.number, np.asarray(forced[name], np.float64))
        for call in b.anchors
        if call.number < number and (name := f"{call.number}/output") in forced
    ]
    sequences = [(call, array) for call, array in before if array.ndim == 3]
    heads = tuple(possible_heads(features))

    def nothing(made: Array) -> Array:
        return made

    found = [
        Given(tuple(np.split(array, 3, -1)), nothing, heads)
        for _, array in sequences[-1:]
        if array.shape[-1] == 3 * features
    ]
    three = sequences[-3:]
    if len(three) == 3 and {array.shape[-1] for _, array in three} == {features}:
        calls, arrays = zip(*three, strict=True)
        found.append(Given(tuple(arrays), nothing, heads, tuple(calls)))
    return found
