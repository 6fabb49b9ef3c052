"""The order of training as NumPy code, which both sides may use."""

from __future__ import annotations

from .design import Part
from .style import Style


def lines(part: Part, style: Style) -> list[str]:
    """Return the lines of the function ``batches``.

    Parameters
    ----------
    part : Part
        ``size``; ``shuffle``, the seed or None; and ``drop``, whether a smaller last batch is left
        out.
    style : Style
        The side's style.
    """
    size = part["size"]
    order = "np.arange(len(x))"
    if part["shuffle"] is not None:
        generator = style.pick("generator", ("default_rng", "RandomState"))
        generator = part.get("generator", generator)
        order = f"np.random.{generator}({part['shuffle']}).permutation(len(x))"
    last = f"len(x) - len(x) % {size}" if part["drop"] else "len(x)"
    return [
        "def batches(x, y):",
        f"    order = {order}",
        f"    for start in range(0, {last}, {size}):",
        f"        rows = order[start : start + {size}]",
        "        yield x[rows], y[rows]",
        "",
        "",
    ]
