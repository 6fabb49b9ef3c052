"""What a module for one kind of arrays has."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ....observation import Array

# Takes tensors and returns tensors.
Function = Callable[[Sequence[Any]], list[Any]]

# Takes the gradient at each result; returns that at each tensor, None where there is none.
Pullback = Callable[[Sequence[Any]], list[Any]]


class Backend(Protocol):
    """A module of this package.

    Attributes
    ----------
    VERSION : str
        The name and the version of the framework.
    WITHOUT_GRADIENTS : str
        Why there are no gradients, as a sentence without a full stop; otherwise empty.
    """

    VERSION: str
    WITHOUT_GRADIENTS: str

    def precision(self, *, double: bool) -> AbstractContextManager[Any]:
        """Return a context for computations, in float64 or as written."""
        ...

    def to_tensor(self, array: Array) -> Any:
        """Return an array as the user's function gets it."""
        ...

    def to_array(self, tensor: Any) -> Array:
        """Return a result as an array."""
        ...

    def with_pullback(
        self, function: Function, tensors: Sequence[Any]
    ) -> tuple[list[Any], Pullback]:
        """Return what a function makes of tensors, and what its gradients are computed with."""
        ...
