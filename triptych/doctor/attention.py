"""How a side computes its attention: found out from its numbers, by trying what people write.

The formula is softmax(q·kᵀ / divisor)·v for each head (Vaswani et al. 2017,
https://arxiv.org/abs/1706.03762). What differs in practice is the divisor, which positions a mask
hides, how the features are divided among the heads, and which projection is the query.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from scipy.special import softmax

from .bounds import relative_difference
from .observation import Array, Arrays
from .wording import catalogue_fix

# The number of samples that decide which ways are tried on all of them.
FEW_SAMPLES = 6
MOST_HEADS = 16
# What a hidden position's score is: so small that its weight is 0. Where all are hidden, libraries
# differ: NaN, zeros, or the same weight for all positions.
HIDDEN = -1e30

NOT_ZERO = " is not 0"
ZERO = " is 0"
ALL = "all positions"
CAUSAL = "the position itself and earlier ones"

# By what the scores are divided; of the features of a head and of all heads.
DIVISORS: Mapping[str, Callable[[int, int], float]] = {
    "divided by the root of a head's features": lambda head, every: head**0.5,
    "not divided": lambda head, every: 1.0,
    "divided by the root of all features": lambda head, every: every**0.5,
    "divided by a head's features": lambda head, every: float(head),
}
USUAL_DIVISOR = next(iter(DIVISORS))

# How (batch, time, features) becomes (batch, heads, time, features of a head), and back.
CONSECUTIVE = "a head has consecutive features"
INTERLEAVED = "a head has every n-th feature"
RESHAPED = "the heads are divided without a transposition"

AXES: Mapping[int, str] = {-1: "over the keys", -2: "over the queries"}


@dataclass(frozen=True)
class Way:
    """One way to compute attention.

    Attributes
    ----------
    roles : tuple of int
        Which of the given projections is the query, the key and the value.
    heads : int
        The number of heads.
    divisor : str
        One of `DIVISORS`.
    split : str
        `CONSECUTIVE`, `INTERLEAVED` or `RESHAPED`.
    mask : str
        What a query attends to: `ALL`, `CAUSAL` or the name of a mask.
    axis : int
        Along which axis the weights sum to 1: -1 for the keys, -2 for the queries.
    """

    roles: tuple[int, ...]
    heads: int
    divisor: str = USUAL_DIVISOR
    split: str = CONSECUTIVE
    mask: str = ALL
    axis: int = -1


def differing(a: Way, b: Way) -> dict[str, tuple[str, str]]:
    """Return in which parts two ways differ, in words for A and for B."""
    words = {
        "roles": [_role_words(way.roles) for way in (a, b)],
        "heads": [f"{way.heads} heads" for way in (a, b)],
        "divisor": [f"scores {way.divisor}" for way in (a, b)],
        "split": [way.split for way in (a, b)],
        "mask": [f"attends to {way.mask}" for way in (a, b)],
        "axis": [f"softmax {AXES[way.axis]}" for way in (a, b)],
    }
    return {part: (one, other) for part, (one, other) in words.items() if one != other}


def _role_words(roles: Sequence[int]) -> str:
    order = ("first", "second", "third")
    query, key, value = (order[role] for role in roles)
    return f"the {query} projection is the query, the {key} the key, the {value} the value"


def _divided(array: Array, heads: int, split: str) -> Array:
    """Return (batch, time, features) as (batch, heads, time, features of a head)."""
    batch, time, features = array.shape
    if split == RESHAPED:
        return array.reshape(batch, heads, time, features // heads)
    if split == INTERLEAVED:
        return array.reshape(batch, time, features // heads, heads).transpose(0, 3, 1, 2)
    return array.reshape(batch, time, heads, features // heads).transpose(0, 2, 1, 3)


def _joined(array: Array, split: str) -> Array:
    """Return the inverse of `_divided`."""
    batch, heads, time, features = array.shape
    if split == RESHAPED:
        return array.reshape(batch, time, heads * features)
    order = (0, 2, 3, 1) if split == INTERLEAVED else (0, 2, 1, 3)
    return array.transpose(order).reshape(batch, time, heads * features)


def attend(way: Way, projections: Sequence[Array], masks: Arrays) -> Array:
    """Return what attention makes of its projections.

    Parameters
    ----------
    way : Way
        How it is computed.
    projections : sequence of ndarray
        Three arrays (batch, time, features).
    masks : dict of str to ndarray of bool, shape (batch, 1 or queries, keys)
        What a query may attend to, by the names of `Way.mask`.

    Returns
    -------
    ndarray, shape (batch, queries, features)
        Before a last projection.
    """
    query, key, value = (_divided(projections[role], way.heads, way.split) for role in way.roles)
    divisor = DIVISORS[way.divisor](query.shape[-1], query.shape[-1] * way.heads)
    scores = query @ np.swapaxes(key, -1, -2) / divisor
    if way.mask == CAUSAL:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, HIDDEN)
    elif way.mask != ALL:
        scores = np.where(masks[way.mask][:, None], scores, HIDDEN)
    return _joined(softmax(scores, way.axis) @ value, way.split)


def masks_of(inputs: Arrays) -> Arrays:
    """Return what may be hidden in a sequence, by what a query attends to then.

    Parameters
    ----------
    inputs : dict of str to ndarray
        What a model gets: words, flags of positions, or features.

    Returns
    -------
    dict of str to ndarray of bool, shape (batch, 1 or queries, keys)
        True where a query attends to.
    """
    masks: Arrays = {}
    for name, array in inputs.items():
        flags = _flags(array)
        if flags is None or not flags.any() or flags.all():
            continue
        shown = f"the positions where {name}"
        masks[shown + NOT_ZERO] = flags[:, None]
        masks[shown + ZERO] = ~flags[:, None]
        # Where a layer hands on a mask, it holds for the queries, too.
        both = flags[:, None] & flags[:, :, None]
        masks[f"{shown}{NOT_ZERO}, from such positions only"] = both
    return masks


def _flags(array: Array) -> Array | None:
    """Return which positions of each sample have something: not 0, or not all features 0."""
    if array.ndim == 2:
        return np.asarray(array != 0)
    return np.asarray((array != 0).any(-1)) if array.ndim == 3 else None


def ways(projections: Sequence[Array], heads: Sequence[int], masks: Arrays) -> Iterator[Way]:
    """Yield the ways in which projections may be used, the usual ones first."""
    query, key, value = projections
    keys, queries = key.shape[1], query.shape[1]
    fitting = [(len(key), count, keys) for count in (1, queries)]
    known = [name for name, mask in masks.items() if mask.shape in fitting]
    if queries == keys:
        known.append(CAUSAL)
    same_shape = query.shape == key.shape == value.shape
    orders = list(permutations(range(3))) if same_shape else [(0, 1, 2)]
    parts = product(
        orders, AXES, (CONSECUTIVE, INTERLEAVED, RESHAPED), DIVISORS, [ALL, *known], heads
    )
    for roles, axis, split, divisor, mask, count in parts:
        yield Way(tuple(roles), count, divisor, split, mask, axis)


def possible_heads(features: int) -> list[int]:
    """Return the numbers of heads among which features can be divided evenly."""
    return [count for count in range(1, MOST_HEADS + 1) if features % count == 0]


def explain(
    projections: Sequence[Array],
    targets: Sequence[Array],
    heads: Sequence[int],
    masks: Arrays,
    after: Callable[[Array], Array],
    tolerance: float,
) -> tuple[Way, ...] | None:
    """Return the way in which each side has computed its attention, or None.

    Parameters
    ----------
    projections : sequence of ndarray
        The three projections that both sides had, each (batch, time, features).
    targets : sequence of ndarray, shape (batch, queries, features)
        What each side has made of them.
    heads : sequence of int
        Numbers of heads that are tried.
    masks : dict of str to ndarray
        As `masks_of` returns them.
    after : callable
        What is applied afterwards: the last projection.
    tolerance : float
        The largest relative difference of what counts as reproduced.
    """
    found: list[Way] = []
    for target in targets:
        tried = ways(projections, heads, masks)
        if found:
            tried = _near(found[0], tried)
        way = _first(tried, projections, target, masks, after, tolerance)
        if way is None:
            return None
        found.append(way)
    return tuple(found)


def _near(way: Way, others: Iterator[Way]) -> list[Way]:
    """Return ways, those first that have the most in common with one."""
    return sorted(others, key=lambda other: (len(differing(way, other)), other.roles != way.roles))


def _first(
    tried: Iterator[Way] | Sequence[Way],
    projections: Sequence[Array],
    target: Array,
    masks: Arrays,
    after: Callable[[Array], Array],
    tolerance: float,
) -> Way | None:
    few = [each[:FEW_SAMPLES] for each in projections]
    few_masks = {name: mask[:FEW_SAMPLES] for name, mask in masks.items()}
    for way in tried:
        made = after(attend(way, few, few_masks))
        if not _reproduces(made, target[:FEW_SAMPLES], _sees_keys(way, few_masks), tolerance):
            continue
        made = after(attend(way, projections, masks))
        if _reproduces(made, target, _sees_keys(way, masks), tolerance):
            return way
    return None


def _sees_keys(way: Way, masks: Arrays) -> Array:
    """Return which queries attend to something: shape (1 or batch, 1 or queries, 1)."""
    if way.mask in (ALL, CAUSAL):
        return np.ones((1, 1, 1), bool)
    shown = np.asarray(masks[way.mask].any(-1, keepdims=True))
    # Without a transposition the rows of the result are not the queries.
    return shown.min(1, keepdims=True) if way.split == RESHAPED else shown


def _reproduces(made: Array, target: Array, shown: Array, tolerance: float) -> bool:
    """Return whether numbers are those of a side where it attends to something."""
    if made.shape != target.shape:
        return False
    known = np.broadcast_to(shown, target.shape) & ~np.isnan(target)
    if not known.any():
        return False
    return relative_difference(target[known], made[known]) <= tolerance


# One line of code for a part of a formula; features last, heads before the time.
_LINES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "torch": {
        "divisor": {
            "divided by the root of a head's features": (
                "scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5"
            ),
            "not divided": "F.scaled_dot_product_attention(q, k, v, scale=1.0)",
        },
        "split": {
            CONSECUTIVE: "q = q.view(batch, time, heads, -1).transpose(1, 2)  # also k and v",
        },
        "mask": {
            ALL: "F.scaled_dot_product_attention(q, k, v)  # without a mask",
            CAUSAL: "F.scaled_dot_product_attention(q, k, v, is_causal=True)",
        },
        "axis": {"-1": "weights = scores.softmax(-1)", "-2": "weights = scores.softmax(-2)"},
    },
    "keras": {
        "divisor": {
            "divided by the root of a head's features": (
                "scores = ops.matmul(q, ops.swapaxes(k, -2, -1)) / q.shape[-1] ** 0.5"
            ),
            "not divided": "scores = ops.matmul(q, ops.swapaxes(k, -2, -1))",
        },
        "split": {
            CONSECUTIVE: (
                "q = ops.transpose(ops.reshape(q, (-1, time, heads, size)), (0, 2, 1, 3))"
                "  # also k and v"
            ),
        },
        "mask": {CAUSAL: "layer(x, x, use_causal_mask=True)"},
        "axis": {
            "-1": "weights = ops.softmax(scores, axis=-1)",
            "-2": "weights = ops.softmax(scores, axis=-2)",
        },
    },
}


def attention_cause(part: str, a: Way, b: Way) -> str | None:
    """Return the id in the catalogue of a part in which two ways differ, or None."""
    if part == "divisor":
        return "D109"
    if part == "mask" and _opposite(a.mask, b.mask):
        return "D100"
    return None


def _opposite(one: str, other: str) -> bool:
    """Return whether one mask hides what the other one shows."""
    words = (one.partition(",")[0], other.partition(",")[0])
    shown = [NOT_ZERO in each for each in words]
    same = {each.removesuffix(NOT_ZERO).removesuffix(ZERO) for each in words}
    return shown[0] != shown[1] and len(same) == 1


def line_for(framework: str, part: str, wanted: Way, cause: str | None) -> str | None:
    """Return one line of code that gives a part of the formula its value in another way."""
    value = str(getattr(wanted, part))
    line = _LINES.get(framework, {}).get(part, {}).get(value)
    return line or (catalogue_fix(cause, framework) if part == "mask" else None)
