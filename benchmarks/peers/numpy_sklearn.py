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

Data = tuple[NDArray[Any], NDArray[Any]]  # flat images, labels


class Engine:
    """As much of an engine as a timing needs. It draws its first weights: nothing is compared."""

    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "sklearn"
    ) -> None:
        self.device = device
        self.recipe = recipe
        widths = [layer.units for layer in network.layers if isinstance(layer, Dense)]
        self.classes = np.arange(widths[-1])
        self.hidden = widths[:-1]
        self.losses: list[float] = []

    def load(self, state: State) -> None:
        """Begin anew; the weights are ignored."""
        self.model = MLPClassifier(self.hidden, alpha=0, **SOLVERS[self.recipe.optimizer.name])
        self.losses = []

    def upload(self, split: Split) -> Data:
        """Return a split as scikit-learn wants it."""
        return split.pixels(self.recipe.dtype).reshape(len(split), -1), split.labels

    def run(self, data: Data, plan: Plan) -> None:
        """Train on as many rows as a plan has; scikit-learn decides their order.

        A plan of full batches is an epoch for each step, another plan is one epoch.
        """
        images, labels = data
        rows = len(labels)
        batch_size = rows
        epochs = len(plan)
        if plan.indices is not None:
            rows = plan.indices.size
            batch_size = plan.indices.shape[1]
            epochs = 1
        self.model.set_params(batch_size=batch_size)
        for _ in range(epochs):
            self.model.partial_fit(images[:rows], labels[:rows], classes=self.classes)
            self.losses.append(self.model.loss_)

    def wait(self) -> np.ndarray:
        """Return the losses since the last call."""
        losses = np.array(self.losses)
        self.losses = []
        return losses
