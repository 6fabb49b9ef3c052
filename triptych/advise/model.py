"""What a step takes in one row, as a sum of what it has to do times what each thing costs there: seconds = Σ cost·amount.

The costs are at least 0, so that every term can be read: overhead by the piece, memory by the byte, arithmetic by the operation.
Operations are cheap in products of large matrices only. What small or narrow ones take longer goes by their operands, which are
read and packed, and by their outputs; units count in whole `LANES`, and few filters take as long as a whole `GROUP`. What does
not fit into a processor's caches costs more by the byte, so bytes beyond `NEAR` and `FAR` count again.

What the sum still misses is alike for networks of like size whose time is made up alike: there the mean of what it missed is put
right, more where more such networks were timed (a Gaussian process; Rasmussen & Williams 2006, equation 2.25).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from .workload import Arithmetic

Floats = NDArray[np.float64]

NEAR, FAR = 2**20, 2**24  # bytes: a core's own cache, and what a core has of the shared one
LANES = 16  # float32 numbers that a processor computes at once
GROUP = 32  # filters that are computed together, whether there are as many or not
OUTLYING = 0.2  # a relative error from which a network counts by its size and no longer by its square (Huber 1964)
ITERATIONS = 12
MISSED, NOISE = 0.15, 0.05  # relative errors that the sum makes, and that a stopwatch makes
REACH = (
    0.5,
    4.0,
)  # how far networks are alike: in the shares of their terms, and in the logarithms of their sizes
UPDATES = (
    "moments",
    "root",
    "velocity",
)  # beside plain steps: Adam's, RMSprop's, momentum's, and what is like them
SHARES = ("overhead", "memory", "arithmetic")


@dataclass(frozen=True)
class Term:
    """One thing that a step does: how much of it, and which share of the time it belongs to."""

    what: str
    share: str
    amount: Callable[[Arithmetic], float]


def _numbers(a: Arithmetic, *kinds: str) -> int:
    """Bytes read and written one by one, of some kinds of layers; of all but those with products where none is named."""
    return a.itemsize * sum(
        work.numbers for work in a.works if (work.kind in kinds if kinds else not work.products)
    )


def _operands(a: Arithmetic, kind: str) -> int:
    return a.itemsize * sum(product.numbers for product in a.products(kind))


def _rounded(a: Arithmetic, kind: str, group: int) -> float:
    """Operations of products whose columns are computed in whole groups."""
    return sum(
        product.operations / product.n * group * ceil(product.n / group)
        for product in a.products(kind)
    )


def _far(a: Arithmetic) -> int:
    return sum(
        max(0, a.itemsize * product.numbers - FAR) for work in a.works for product in work.products
    )


def _kept(a: Arithmetic) -> int:
    return a.itemsize * a.parameters * (2 + len(a.slots))


def _update(a: Arithmetic) -> str:
    """Return which of `UPDATES` the optimizer makes: an engine may have one operation for all of Adam, and several for less."""
    known = (("m", "moments"), ("v", "root"), ("velocity", "velocity"))
    return next((name for slot, name in known if slot in a.slots), "")


def _by(update: str, amount: Callable[[Arithmetic], int]) -> Callable[[Arithmetic], int]:
    """Return an amount that is only there where an update is made so."""
    return lambda a: amount(a) if _update(a) == update else 0


TERMS = (
    Term("a step", "overhead", lambda a: 1),
    Term("a dense layer", "overhead", lambda a: a.calls("Dense")),
    Term("a convolution", "overhead", lambda a: a.calls("Conv2D")),
    Term(
        "its gradient images",
        "overhead",
        lambda a: sum(work.kind == "Conv2D" and len(work.products) == 3 for work in a.works),
    ),
    Term(
        "another layer",
        "overhead",
        lambda a: sum(not work.products and work.kind != "Flatten" for work in a.works),
    ),
    Term("a normalisation", "overhead", lambda a: a.calls("BatchNorm") + a.calls("LayerNorm")),
    Term("an array to update", "overhead", lambda a: a.arrays),
    *(
        Term(f"an array's {update}", "overhead", _by(update, lambda a: a.arrays))
        for update in UPDATES
    ),
    Term("an image", "overhead", lambda a: a.batch),
    Term("an image that is drawn", "overhead", lambda a: a.batch if a.drawn else 0),
    Term("an image in a convolution", "overhead", lambda a: a.batch * a.calls("Conv2D")),
    Term(
        "a window of a convolution",
        "overhead",
        lambda a: sum(max(p.m, p.k) for p in a.products("Conv2D")),
    ),
    Term("a byte of a batch, drawn", "memory", lambda a: a.itemsize * a.drawn),
    Term("drawn beyond the far cache", "memory", lambda a: max(0, a.itemsize * a.drawn - FAR)),
    Term("a byte of activations", "memory", lambda a: _numbers(a) + a.itemsize * a.loss),
    Term("beyond the near cache", "memory", lambda a: max(0, _numbers(a) - NEAR)),
    Term("beyond the far cache", "memory", lambda a: max(0, _numbers(a) - FAR)),
    Term("a byte in dropout", "memory", lambda a: _numbers(a, "Dropout")),
    Term("a byte in normalisation", "memory", lambda a: _numbers(a, "BatchNorm", "LayerNorm")),
    Term(
        "a byte in pooling",
        "memory",
        lambda a: _numbers(a, "MaxPool2D", "AvgPool2D", "GlobalAvgPool"),
    ),
    Term("a byte of parameters, updated", "memory", lambda a: a.itemsize * a.parameters),
    *(
        Term(f"a byte's {update}", "memory", _by(update, lambda a: a.itemsize * a.parameters))
        for update in UPDATES
    ),
    Term("updated beyond the near cache", "memory", lambda a: max(0, _kept(a) - NEAR)),
    Term("updated beyond the far cache", "memory", lambda a: max(0, _kept(a) - FAR)),
    Term("a byte of a dense product", "memory", lambda a: _operands(a, "Dense")),
    Term(
        "a byte of its output",
        "memory",
        lambda a: a.itemsize * sum(p.m * p.n for p in a.products("Dense")),
    ),
    Term("a byte of a convolution", "memory", lambda a: _operands(a, "Conv2D")),
    Term(
        "a byte of its windows",
        "memory",
        lambda a: (
            a.itemsize * sum(p.count * max(p.m * p.k, p.m * p.n) for p in a.products("Conv2D"))
        ),
    ),
    Term(
        "a byte of its kernel",
        "memory",
        lambda a: a.itemsize * sum(p.k * p.n for p in a.products("Conv2D")),
    ),
    Term("a product's bytes beyond the far cache", "memory", _far),
    Term("an operation of a dense product", "arithmetic", lambda a: _rounded(a, "Dense", LANES)),
    Term("an operation of a convolution", "arithmetic", lambda a: a.convolution),
    Term(
        "an operation of a group of filters", "arithmetic", lambda a: _rounded(a, "Conv2D", GROUP)
    ),
)

OF = {share: np.array([term.share == share for term in TERMS]) for share in SHARES}
SIZES = [
    i
    for i, term in enumerate(TERMS)
    if term.what in ("an image", "a byte of parameters, updated", "a byte of activations")
]


def amounts(a: Arithmetic) -> Floats:
    """Return how much of each term one step is, shape (terms,)."""
    return np.array([term.amount(a) for term in TERMS], np.float64)


@dataclass(frozen=True)
class Fit:
    """What a row's steps cost.

    Attributes
    ----------
    costs : ndarray of float64, shape (terms,)
        Seconds for each unit of a term.
    places : ndarray of float64, shape (networks, coordinates)
        Of the networks that were timed: those that lie close to one another are alike.
    pulls : ndarray of float64, shape (networks,)
        How strongly each of them corrects those that are like it.
    """

    costs: Floats
    places: Floats
    pulls: Floats

    def seconds(self, rows: Floats) -> Floats:
        """Return what steps with such amounts take, (networks, terms) to (networks,)."""
        return (
            rows @ self.costs * np.exp(_alike(_places(rows, self.costs), self.places) @ self.pulls)
        )

    def shares(self, amount: Floats) -> dict[str, float]:
        """Return how the time of one step divides into overhead, memory and arithmetic; they add up to 1."""
        parts = amount * self.costs
        return {share: float(parts[OF[share]].sum() / parts.sum()) for share in SHARES}


def fit(rows: Floats, seconds: Floats, weights: Floats) -> Fit:
    """Fit one row to networks that it timed.

    Parameters
    ----------
    rows : ndarray of float64, shape (networks, terms)
        Their amounts.
    seconds, weights : ndarray of float64, shape (networks,)
        What they took, and what they count.
    """
    costs = _costs(rows, seconds, weights)
    places = _places(rows, costs)
    missed = np.clip(np.log(seconds / (rows @ costs)), -OUTLYING, OUTLYING)
    pulls = np.linalg.solve(_alike(places, places) + np.diag(NOISE**2 / weights), missed)
    return Fit(costs, places, np.asarray(pulls, np.float64))


def _costs(rows: Floats, seconds: Floats, weights: Floats) -> Floats:
    """Return the costs, at least 0, that make Σ weight·ρ(log(predicted/seconds)) least, ρ Huber's.

    By non-negative least squares (Lawson & Hanson 1974), reweighted until they settle.
    """
    from scipy.optimize import nnls

    scale = np.where(rows.any(axis=0), (rows / seconds[:, None]).max(axis=0), 1)
    scaled, by, costs = rows / scale, np.sqrt(weights) / seconds, np.zeros(rows.shape[1])
    for _ in range(ITERATIONS):
        costs = nnls(scaled * by[:, None], seconds * by)[0]
        predicted = np.maximum(scaled @ costs, 1e-3 * seconds)
        off = np.log(predicted / seconds)
        # (predicted - seconds)·slope is the logarithm's error; near 0 the slope is 1/seconds.
        slope = np.divide(off, predicted - seconds, out=1 / seconds, where=np.abs(off) > 1e-6)
        by = slope * np.sqrt(weights * np.minimum(1, OUTLYING / np.maximum(np.abs(off), 1e-9)))
    costs[0] = max(costs[0], 1e-9)  # no step takes no time
    return costs / scale


def _places(rows: Floats, costs: Floats) -> Floats:
    """Return coordinates: what share of the time each term is, and the logarithms of images, parameters, activations and operations."""
    parts = rows * costs
    sizes = np.column_stack([rows[:, SIZES], rows[:, OF["arithmetic"]].sum(axis=1)])
    return np.concatenate(
        [parts / parts.sum(axis=1, keepdims=True) / REACH[0], np.log(sizes) / REACH[1]], axis=1
    )


def _alike(some: Floats, others: Floats) -> Floats:
    """Return how alike what the sum misses of two networks is expected to be: a variance, the largest where they lie at one place."""
    return MISSED**2 * np.exp(-((some[:, None] - others) ** 2).sum(axis=-1) / 2)


def left_out(
    rows: Floats,
    seconds: Floats,
    extra: tuple[Floats, Floats, Floats] | None = None,
    folds: int = 10,
) -> Floats:
    """Return log(seconds/predicted) of every network, predicted from the others without its fold.

    `extra` are networks that are never left out: amounts, seconds and weights.
    """
    errors, folds = np.zeros(len(seconds)), min(folds, len(seconds))
    for fold in range(folds):
        out = np.arange(len(seconds)) % folds == fold
        errors[out] = np.log(
            seconds[out] / fit(*with_extra(rows[~out], seconds[~out], extra)).seconds(rows[out])
        )
    return errors


def with_extra(
    rows: Floats, seconds: Floats, extra: tuple[Floats, Floats, Floats] | None
) -> tuple[Floats, Floats, Floats]:
    """Return amounts, seconds and weights of networks that count 1, and of `extra` behind them."""
    own = (rows, seconds, np.ones(len(seconds)))
    return (
        own
        if extra is None
        else tuple(np.concatenate(pair) for pair in zip(own, extra, strict=True))
    )  # pyright: ignore[reportReturnType]


def quantile(errors: Sequence[float] | Floats, share: float) -> float:
    """Return the smallest |error| that at least `share` of them do not exceed, counted as if there was one more (Vovk et al. 2005)."""
    ordered = np.sort(np.abs(np.asarray(errors, np.float64)))
    return float(ordered[min(len(ordered) - 1, int(np.ceil(share * (len(ordered) + 1))) - 1)])
