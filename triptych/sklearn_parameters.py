"""The classifier's parameters, read as a recipe and a network."""

from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .errors import SpecError, suggest
from .spec import zoo
from .spec.callbacks import EarlyStopping
from .spec.layers import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from .spec.losses import SoftmaxCrossEntropy
from .spec.network import Network
from .spec.optimizers import optimizer
from .spec.placement import Layer, Shape
from .spec.recipe import Recipe
from .spec.validation import check_number, check_whole

ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "tanh": Tanh,
    "logistic": Sigmoid,
    "leaky_relu": LeakyReLU,
    "gelu": GELU,
    "silu": SiLU,
}
AUTO = 200  # rows of a batch, as in scikit-learn


class Parameters(BaseEstimator):
    """Base of the classifier: what it was given, which nothing changes, and what it comes to."""

    def __init__(
        self,
        engine: str = "numpy",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        backend: str | None = None,
        device: str = "cpu",
        dtype: str = "float64",
        dropout: float = 0.0,
        network: Network | str | None = None,
        input_shape: tuple[int, int, int] | None = None,
        optimizer: str = "adam",
        learning_rate_init: float | None = None,
        l2: float = 0.0,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        tol: float = 1e-4,
        random_state: Any = None,
        verbose: bool = False,
        warm_start: bool = False,
    ) -> None:
        self.engine = engine
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.dropout = dropout
        self.network = network
        self.input_shape = input_shape
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.l2 = l2
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    @property
    def _given(self) -> dict[str, Any]:
        """The parameters, with Python's numbers for NumPy's, which come out of a grid."""
        return {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.get_params().items()
        }

    def _recipe(self, seed: int) -> Recipe:
        """Return how `fit` trains, without class weights; raise `SpecError` for wrong values."""
        given = self._given
        early = bool(self.early_stopping)
        what = type(self).__name__
        check_whole(what, "max_iter", given["max_iter"], 1)
        if given["n_iter_no_change"] != inf:
            check_whole(what, "n_iter_no_change", given["n_iter_no_change"], 1)
        check_number(what, "tol", given["tol"], 0)
        check_number(what, "validation_fraction", given["validation_fraction"], 0, 1, above=True)
        stopping = EarlyStopping(
            monitor="validation_accuracy" if early else "loss",
            threshold=given["tol"],
            patience=min(
                given["n_iter_no_change"], given["max_iter"]
            ),  # max_iter is never reached: the first epoch does not count
            restore_best=early,
        )
        return Recipe(
            given["max_iter"],
            AUTO if given["batch_size"] == "auto" else given["batch_size"],
            optimizer(given["optimizer"], given["learning_rate_init"]),
            seed,
            given["dtype"],
            loss=SoftmaxCrossEntropy(given["label_smoothing"], l2=given["l2"]),
            validation=given["validation_fraction"] if early else 0.0,
            callbacks=(stopping,),
        )

    def _network(self, features: int, classes: int) -> Network:
        """Return what is trained on rows of `features` numbers, or raise `SpecError`."""
        if self.input_shape is not None and not isinstance(self.input_shape, tuple | list):
            raise SpecError(
                f"input_shape must be (height, width, channels), not {self.input_shape!r}"
            )
        network = self.network
        shape = tuple(self.input_shape or (1, 1, features))
        if isinstance(network, Network):
            network.check_fits(self.input_shape or network.input_shape, classes)
        elif network is None:
            network = self._dense(shape, classes)
        else:
            if self.input_shape is None and zoo.get(network).has_windows:
                raise SpecError(
                    f"network {network!r} has convolutions; give input_shape=(height, width, "
                    "channels) of the images in X"
                )
            network = zoo.get(network, shape, classes)
        if prod(network.input_shape) != features:
            raise SpecError(
                f"images of shape {network.input_shape} are {prod(network.input_shape)} numbers, a "
                f"row of X is {features}"
            )
        return network

    def _dense(self, shape: Shape, classes: int) -> Network:
        """Return dense layers with the activation after each."""
        if not isinstance(self.activation, str) or self.activation not in ACTIVATIONS:
            raise SpecError(
                f"activation {self.activation!r} is unknown; "
                f"{suggest(str(self.activation), ACTIVATIONS)}"
            )
        stack = zoo.dense(
            "dense",
            np.atleast_1d(self.hidden_layer_sizes).tolist(),
            self._given["dropout"],
            shape=shape,
            classes=classes,
        )
        kind = ACTIVATIONS[self.activation]
        named = (
            kind(layer.name.replace("relu", self.activation)) if isinstance(layer, ReLU) else layer
            for layer in stack.layers
        )
        return replace(stack, layers=tuple(named))
