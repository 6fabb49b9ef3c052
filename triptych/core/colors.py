"""The colour of each row: of its engine, in a shade and a dash pattern of its backend.

A colour depends on nothing but the engine and the backend, so it is the same in every table, chart,
figure and map, whichever other rows there are.
"""

from dataclasses import dataclass
from zlib import crc32

from . import registry

# For engines whose file names no colour: (on a light page, on a dark page).
SPARE = (
    ("#8e5bd0", "#b694f0"),
    ("#d0529b", "#f08cc3"),
    ("#0f8a94", "#4fc3cc"),
    ("#4f6f8f", "#93b3d3"),
    ("#6b7d00", "#b8c94e"),
)
# By the position of a backend in its engine's list: the shade is (grey level mixed in, its share).
SHADES = ((0, 0.0), (255, 0.4), (0, 0.4), (128, 0.6))
DASHES = ("", "9 3", "3 3", "9 3 3 3")  # lengths in pixels of strokes and gaps; empty is solid


@dataclass(frozen=True)
class Style:
    """How one row is drawn.

    Attributes
    ----------
    light, dark : str
        The colour on a light and on a dark page, as ``#rrggbb``.
    dash : str
        An SVG ``stroke-dasharray`` for lines, empty for solid lines.
    """

    light: str
    dark: str
    dash: str

    @property
    def css(self) -> str:
        """The colour in CSS, which follows the colour scheme of the page."""
        return f"light-dark({self.light}, {self.dark})"

    @property
    def matplotlib_dash(self) -> str | tuple[int, tuple[float, ...]]:
        """The dash pattern as a line style of matplotlib."""
        if not self.dash:
            return "-"
        return 0, tuple(float(length) / 2 for length in self.dash.split())


def style(engine: str, backend: str) -> Style:
    """Return how a row is drawn.

    Parameters
    ----------
    engine, backend : str
        They may be unknown: a run folder may come from an installation with other engines.
    """
    entry = registry.entries().get(engine)
    if entry and entry.color:
        light, dark = entry.color
    else:
        light, dark = SPARE[crc32(engine.encode()) % len(SPARE)]
    backends = list(entry.backends) if entry else []
    place = backends.index(backend) if backend in backends else crc32(backend.encode())
    grey, share = SHADES[place % len(SHADES)]
    return Style(_mixed(light, grey, share), _mixed(dark, grey, share), DASHES[place % len(DASHES)])


def _mixed(color: str, grey: int, share: float) -> str:
    channels = bytes.fromhex(color.removeprefix("#"))
    mixed = [round((1 - share) * channel + share * grey) for channel in channels]
    return "#" + bytes(mixed).hex()
