"""NumPy as the lesson at the root writes it, which is the original's way.

A column is a digit, and every step sees all images.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import artificial_neural_network_MNIST as lesson
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.core.state import State
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

RATE = 0.1

Data = tuple[NDArray[Any], NDArray[Any]]  # images as columns, labels


class Engine:
    """As much of an engine as a timing needs; its state is the weights alone."""

    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "original"
    ) -> None:
        self.device = device
        self.recipe = recipe
        self.shapes = {parameter.name: parameter.shape for parameter in network.parameters}
        self.losses: list[float] = []

    def load(self, state: State) -> None:
        """Take the weights in."""
        self.parameters = lesson.init_params({name: state[name] for name in self.shapes})

    def state(self) -> State:
        """Return the weights."""
        return {
            name: weight.T.reshape(shape)
            for (name, shape), weight in zip(self.shapes.items(), self.parameters, strict=True)
        }

    def upload(self, split: Split) -> Data:
        """Return a split as the lesson wants it."""
        images = split.pixels(self.recipe.dtype).reshape(len(split), -1)
        return images.T, split.labels

    def run(self, data: Data, plan: Plan) -> None:
        """Make the steps of a plan, each over all images."""
        assert plan.indices is None
        for _ in range(len(plan)):
            self.losses.append(lesson.train_step(self.parameters, *data, RATE))

    def wait(self) -> np.ndarray:
        """Return the losses since the last call."""
        losses = np.array(self.losses)
        self.losses = []
        return losses
