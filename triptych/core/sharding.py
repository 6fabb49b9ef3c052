"""The parts of a plan that several workers compute: every batch is cut by rank."""

import numpy as np
from numpy.typing import NDArray

from .plan import Plan


def shard_rows(batch: int, workers: int) -> list[slice]:
    """Return which samples of a batch each worker has, in order of rank.

    The parts are contiguous. If `workers` does not divide the batch, the first ones have a sample
    more; if the batch is smaller than `workers`, the last ones have none.

    Parameters
    ----------
    batch : int
        Number of samples in a step.
    workers : int
        Number of workers, at least 1.
    """
    smallest, larger_ones = divmod(batch, workers)
    rows: list[slice] = []
    start = 0
    for rank in range(workers):
        stop = start + smallest + (rank < larger_ones)
        rows.append(slice(start, stop))
        start = stop
    return rows


def take_rows(plan: Plan, rows: slice | NDArray[np.intp], samples: int) -> Plan:
    """Return a plan with some samples of each of its batches, their masks and augmentations.

    Parameters
    ----------
    plan : Plan
        K steps of all workers together.
    rows : slice or ndarray of int
        Positions in the batch.
    samples : int
        Number of samples of the split: the batch of a plan without indices.
    """
    indices = plan.indices
    if indices is None:
        indices = np.tile(np.arange(samples, dtype=np.int32), (len(plan), 1))
    return Plan(
        plan.rates,
        np.ascontiguousarray(indices[:, rows]),
        {name: masks[:, rows] for name, masks in plan.dropout_masks.items()},
        {name: drawn[:, rows] for name, drawn in plan.augmentations.items()},
    )


def shard(plan: Plan, rank: int, workers: int, samples: int) -> Plan:
    """Return what one of several workers computes of a plan.

    The parts of all ranks, one behind the other, are the plan.

    Parameters
    ----------
    plan : Plan
        K steps of all workers together.
    rank : int
        The worker's number, from 0.
    workers : int
        Number of workers.
    samples : int
        Number of samples of the split: the batch of a plan without indices.
    """
    batch = samples if plan.indices is None else plan.indices.shape[1]
    return take_rows(plan, shard_rows(batch, workers)[rank], samples)


def shard_order(order: NDArray[np.int32], batch: int, rank: int, workers: int) -> NDArray[np.int32]:
    """Return which samples of an epoch one of several workers needs, in the order of its steps.

    Parameters
    ----------
    order : ndarray of int32, shape (n,)
        The order of all samples in the epoch.
    batch : int
        Number of samples in a step of all workers together; the last step may have fewer.
    rank : int
        The worker's number, from 0.
    workers : int
        Number of workers.
    """
    whole = len(order) // batch * batch
    rest = order[whole:]
    steps = order[:whole].reshape(-1, batch)[:, shard_rows(batch, workers)[rank]]
    return np.concatenate([steps.ravel(), rest[shard_rows(len(rest), workers)[rank]]])
