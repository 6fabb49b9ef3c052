"""Memory that is used again from step to step."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Memory:
    """Arrays by the name of their use. New memory costs a page fault for each 4 kB."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def reuse(self, use: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of undefined content, that of the last call if it is large enough.

        Parameters
        ----------
        use : str
            A name, unique in this memory.
        shape : tuple of int
            Its first axis may differ from call to call.
        dtype : dtype
        """
        kept = self._arrays.get(use)
        if (
            kept is None
            or len(kept) < shape[0]
            or kept.shape[1:] != shape[1:]
            or kept.dtype != dtype
        ):
            kept = np.empty(shape, dtype)
            self._arrays[use] = kept
        return kept[: shape[0]]
