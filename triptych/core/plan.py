"""What K training steps do, as small arrays: which samples, which rates, which masks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .augmentation import Draws


@dataclass(frozen=True)
class Plan:
    """K training steps.

    Attributes
    ----------
    rates : ndarray of float64, shape (K,)
        The learning rate of each step.
    indices : ndarray of int32, shape (K, B), or None
        The samples of each step; None for all samples in their order, which are then not copied.
    dropout_masks : dict of str to ndarray of bool, shape (K, B, …)
        By layer name; True where dropout leaves a value in place. Empty if each framework draws
        its own masks.
    augmentations : dict of str to ndarray, shape (K, B, …)
        The draws of `triptych.core.augmentation`, by name; empty if images are not changed.
    """

    rates: NDArray[np.float64]
    indices: NDArray[np.int32] | None = None
    dropout_masks: dict[str, NDArray[np.bool_]] = field(
        default_factory=dict[str, NDArray[np.bool_]]
    )
    augmentations: Draws = field(default_factory=dict[str, NDArray[Any]])

    def __len__(self) -> int:
        return len(self.rates)

    def __getitem__(self, steps: slice) -> "Plan":
        """Return a plan of some of the steps."""
        return Plan(
            self.rates[steps],
            None if self.indices is None else self.indices[steps],
            {name: masks[steps] for name, masks in self.dropout_masks.items()},
            {name: drawn[steps] for name, drawn in self.augmentations.items()},
        )

    @property
    def empty(self) -> bool:
        """Whether its steps have no samples, as the part of a worker may have in a small batch."""
        return self.indices is not None and self.indices.shape[1] == 0

    def single(self) -> Iterator["Plan"]:
        """Yield each step as a plan with K = 1."""
        return (self[k : k + 1] for k in range(len(self)))


def samples_digest(plan: Plan) -> str | None:
    """Return what identifies the samples of a plan and their order, as of `digest_of`.

    None for a plan whose steps use all samples.
    """
    return None if plan.indices is None else digest_of(plan.indices)


def digest_of(indices: NDArray[np.int32]) -> str:
    """Return 16 hexadecimal digits that identify samples and their order.

    Parameters
    ----------
    indices : ndarray of int32
        Their numbers, step after step. The digits are the first ones of the SHA-256 of these
        numbers in little-endian order.
    """
    return sha256(np.ascontiguousarray(indices, "<i4").data).hexdigest()[:16]
