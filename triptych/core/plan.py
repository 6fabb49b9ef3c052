"""What K training steps do, as small arrays: which samples, which rates, which masks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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
        Learning rates.
    indices : ndarray of int32, shape (K, B), or None
        Sample indices; None means all rows in their order, with no copy.
    dropout_masks : dict of str to ndarray of bool, shape (K, B, …)
        True where a value is kept, by layer name; empty where each framework draws its own.
    augmentations : dict of str to ndarray, shape (K, B, …)
        What `triptych.spec.augmentation` drew; empty where images are not changed.
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
        """Return the plan of some of the steps."""
        return Plan(
            self.rates[steps],
            None if self.indices is None else self.indices[steps],
            {name: masks[steps] for name, masks in self.dropout_masks.items()},
            {name: drawn[steps] for name, drawn in self.augmentations.items()},
        )

    def single(self) -> Iterator["Plan"]:
        """Yield the same steps one by one."""
        return (self[k : k + 1] for k in range(len(self)))
