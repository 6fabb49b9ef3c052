"""The NumPy lesson at the root, imported: a column is a digit, and every step uses all images."""

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


class Engine:
    """As much of an engine as a timing needs; its state is the weights alone."""

    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "original"
    ) -> None:
        self.device = device
        self.recipe = recipe
        self.shapes = {p.name: p.shape for p in network.parameters}
        self.losses: list[float] = []

    def load(self, state: State) -> None:
        self.parameters = lesson.init_params({name: state[name] for name in self.shapes})

    def state(self) -> State:
        return {
            name: w.T.reshape(shape)
            for (name, shape), w in zip(self.shapes.items(), self.parameters, strict=True)
        }

    def upload(self, split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
        images = split.pixels(self.recipe.dtype).reshape(len(split), -1)
        return images.T, split.labels

    def run(self, data: tuple[NDArray[Any], NDArray[Any]], plan: Plan) -> None:
        assert plan.indices is None
        self.losses += [lesson.train_step(self.parameters, *data, RATE) for _ in range(len(plan))]

    def wait(self) -> np.ndarray:
        losses = np.array(self.losses)
        self.losses = []
        return losses
