"""The named networks, and any stack of dense layers by its widths."""

from collections.abc import Callable, Sequence

from .errors import SpecError, suggest
from .network import Dense, Dropout, Flatten, Layer, Network, ReLU


def dense(name: str, hidden: Sequence[int], dropout: float = 0.0, *, shape: tuple[int, ...] = (28, 28, 1), classes: int = 10) -> Network:
    """Build Flatten, then (Dense, ReLU, Dropout) for each hidden width, then the logits.

    Parameters
    ----------
    name : str
    hidden : sequence of int
        Units of each hidden layer; empty for a linear classifier.
    dropout : float
        Rate after each hidden layer; 0 leaves the layer out.
    shape : tuple of int
        One image, (h, w, c).
    classes : int
    """
    if dropout and not hidden:
        raise SpecError("dropout comes after a hidden layer, and there is none; give at least one width")
    layers: list[Layer] = [Flatten("flatten")]
    for i, units in enumerate(hidden, 1):
        n = str(i) if len(hidden) > 1 else ""
        layers += [Dense(f"hidden{n}", units), ReLU(f"relu{n}")]
        if dropout:
            layers.append(Dropout(f"dropout{n}", dropout))
    return Network(name, shape, (*layers, Dense("output", classes)))


ZOO: dict[str, Callable[[], Network]] = {
    "classic": lambda: dense("classic", [10]),
    "custom": lambda: dense("custom", [128, 64]),
    "regularized": lambda: dense("regularized", [128, 64], 0.2),
}


def get(name: str) -> Network:
    """Return the named network.

    Raises
    ------
    SpecError
        Where there is none of that name.
    """
    if name not in ZOO:
        raise SpecError(f"network {name!r} is unknown; {suggest(name, ZOO)}. For other widths use --hidden 128,64")
    return ZOO[name]()
