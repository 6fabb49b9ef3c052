"""Attention that is one layer on one side, and several dense layers on the other."""

from .examination import Examination, Side
from .frameworks.adapter import Unsupported
from .observation import Description


def separate_attention(examination: Examination) -> None:
    """Let attention layers be seen as dense layers where the other side has written them so.

    Parameters
    ----------
    examination : Examination
        The comparison; both sides were built. The descriptions and weights of a side whose layers
        were separated are those of the dense layers afterwards.
    """
    a, b = examination.descriptions
    dtypes = dict.fromkeys(("native", examination.dtype))
    paths = _to_separate(a, b)
    if paths and _separated(examination.a, paths, dtypes):
        examination.a_description = examination.a.description()
        examination.a_weights = examination.a.weights()
    paths = _to_separate(b, a)
    if paths and _separated(examination.b, paths, dtypes):
        examination.b_description = examination.b.description()
        examination.b_weights = examination.b.weights()


def _to_separate(side: Description, other: Description) -> list[str]:
    """Return the attention layers of a side, if the other has none and more dense layers."""
    paths = [layer.path for layer in side.layers if layer.kind == "attention"]
    if other.whole:
        return paths  # parameters of a function are mostly one kernel for each projection
    others = [layer for layer in other.layers if layer.kind == "attention"]
    return paths if _dense(other) > _dense(side) and not others else []


def _dense(side: Description) -> int:
    return sum(layer.kind == "dense" for layer in side.layers)


def _separated(side: Side, paths: list[str], dtypes: dict[str, None]) -> bool:
    try:
        for dtype in dtypes:
            side.separate(paths, dtype)
    except Unsupported:
        # A trace, or a layer with further weights: they are compared as they are.
        return False
    return True
