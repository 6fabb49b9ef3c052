"""Figures that a score must reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triptych.errors import TriptychError

# Where a figure is in a summary, and what it is called.
FIGURES = {
    "cause": ("one_fault", "cause", "right cause first"),
    "stage": ("one_fault", "stage", "right stage"),
    "both": ("two_faults", "both", "both of two faults"),
    "false-alarms": ("correct", "false_alarms", "false alarms on correct pairs"),
}
AT_MOST = ("false-alarms",)


@dataclass(frozen=True)
class Requirement:
    """A figure, and the least share that it must be; for false alarms the largest.

    Attributes
    ----------
    name : str
        A key of `FIGURES`.
    share : float
        Between 0 and 1.
    """

    name: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Return the requirement of ``NAME=SHARE``.

        Raises
        ------
        TriptychError
            If the text has another form.
        """
        name, _, number = text.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if name not in FIGURES or not 0 <= share <= 1:
            names = ", ".join(FIGURES)
            raise TriptychError(f"{text!r} is not NAME=SHARE, a share of 0 to 1 of one of {names}")
        return cls(name, share)

    def problem(self, figures: dict[str, Any]) -> str:
        """Return in which way figures do not reach what is required; empty if they do."""
        group, key, title = FIGURES[self.name]
        right, of = figures[group][key]
        word = "at most" if self.name in AT_MOST else "at least"
        required = f"{title}: {word} {self.share:.1%} required"
        if not of:
            return f"{required}, but no pair tells it"
        share = right / of
        holds = share <= self.share if self.name in AT_MOST else share >= self.share
        return "" if holds else f"{required}, but it is {share:.1%} ({right} of {of})"
