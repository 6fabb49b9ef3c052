"""A training job that every contestant does."""

from collections.abc import Iterator
from dataclasses import dataclass

from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """What everybody trains, and on what.

    Attributes
    ----------
    network : Network
    recipe : Recipe
    split : Split
        The training images.
    """

    network: Network
    recipe: Recipe
    split: Split

    def planner(self, steps: int) -> BatchPlanner:
        """Return the planner of a training practically without end, with K = `steps`."""
        return BatchPlanner(self.network, self.recipe, len(self.split), steps).endless()

    def plans(self, steps: int) -> Iterator[Plan]:
        """Yield plans of `steps` steps, practically without end."""
        return self.planner(steps).plans()
