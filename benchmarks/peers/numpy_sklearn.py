"""scikit-learn's MLPClassifier. It shuffles by itself, and has no dropout."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.core.state import State
from triptych.spec.layers import Dense
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

SOLVERS: dict[str, dict[str, Any]] = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0},
    "adam": {"solver": "adam"},
}


class Engine:
    """As much of an engine as a timing needs. Its first weights are its own: nothing it computes is compared."""

    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "sklearn"
    ) -> None:
        self.device, self.recipe = device, recipe
        widths = [layer.units for layer in network.layers if isinstance(layer, Dense)]
        self.classes, self.hidden = np.arange(widths[-1]), widths[:-1]

    def load(self, state: State) -> None:
        self.model = MLPClassifier(self.hidden, alpha=0, **SOLVERS[self.recipe.optimizer.name])
        self.losses: list[float] = []

    def upload(self, split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
        return split.pixels(self.recipe.dtype).reshape(len(split), -1), split.labels

    def run(self, data: tuple[NDArray[Any], NDArray[Any]], plan: Plan) -> None:
        """Make an epoch of as many rows as the plan has; where every step sees all rows, an epoch for each step."""
        x, y = data
        self.model.set_params(batch_size=len(y) if plan.indices is None else plan.indices.shape[1])
        count, epochs = (len(y), len(plan)) if plan.indices is None else (plan.indices.size, 1)
        for _ in range(epochs):  # of as many rows: which, it decides by itself
            self.model.partial_fit(x[:count], y[:count], classes=self.classes)
            self.losses.append(self.model.loss_)

    def wait(self) -> np.ndarray:
        losses, self.losses = np.array(self.losses), []
        return losses
