"""Choices that are drawn by name: the order in which they are asked for changes nothing."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Choice = TypeVar("Choice")


class Style:
    """A seeded source of choices, each a function of the seed and of the choice's name alone.

    A fault changes one side of a pair. Because choices are drawn by name, everything else on both
    sides remains as it was.

    Parameters
    ----------
    seed : str
        Any text.
    """

    def __init__(self, seed: str) -> None:
        self.seed = seed

    def random(self, name: str) -> Random:
        """Return a generator for one name; Python guarantees its numbers for text seeds."""
        return Random(f"{self.seed}/{name}")

    def pick(self, name: str, options: Sequence[Choice]) -> Choice:
        """Return one of the options."""
        return self.random(name).choice(options)

    def chance(self, name: str, probability: float = 0.5) -> bool:
        """Return True with a probability."""
        return self.random(name).random() < probability

    def shuffled(self, name: str, options: Sequence[Choice]) -> list[Choice]:
        """Return the options in a drawn order."""
        return self.random(name).sample(options, len(options))

    def part(self, name: str) -> "Style":
        """Return a source for one part of a pair, independent of the others."""
        return Style(f"{self.seed}/{name}")
