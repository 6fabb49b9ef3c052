"""The network as a scikit-learn classifier, in any engine.

Weights, buffers and slots are kept as NumPy arrays in the canonical layout. An engine is built when
there is something to compute and let go of afterwards, so a fitted classifier can be copied, sent
to another process, and set to another engine.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from numbers import Integral
from typing import Any, Self
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    unique_labels,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from .core import memory, metrics, registry, state
from .core.events import EpochEnded
from .core.planner import BatchPlanner
from .core.probabilities import softmax
from .core.split import Split
from .core.state import State
from .data.loading import stratified
from .errors import SpecError, TriptychError
from .sklearn_parameters import Parameters
from .spec.recipe import Recipe
from .training.inference import compute_logits
from .training.loop import Training

Array = NDArray[Any]


@contextmanager
def value_errors() -> Generator[None]:
    """Raise errors as the ValueError and the MemoryError that scikit-learn's tools expect."""
    try:
        yield
    except TriptychError as error:
        raise ValueError(str(error)) from None
    except Exception as error:
        if memory.ran_out_of_memory(error):
            raise MemoryError(memory.OUT_OF_MEMORY) from error
        raise


class TriptychClassifier(ClassifierMixin, Parameters):
    """A neural network for classification, trained by any engine with the same result.

    X is taken as it is: put a ``StandardScaler`` before it. What has the name of a parameter or an
    attribute of scikit-learn's ``MLPClassifier`` means what it means there; docs/estimator.md has
    the fine print.

    Parameters
    ----------
    engine : str
        ``numpy``, ``torch``, ``tensorflow`` or ``jax``. It may be changed after `fit`, as `backend`
        and `device` may.
    hidden_layer_sizes : int or sequence of int
    activation : str
        After each hidden layer: ``relu``, ``tanh``, ``logistic``, ``leaky_relu``, ``gelu`` or
        ``silu``.
    backend : str, optional
        One of the engine's own; its first by default.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    dtype : "float64" or "float32"
        Of all that is computed.
    dropout : float
        Rate after each hidden layer.
    network : Network or str, optional
        Any network, or a named one, in place of `hidden_layer_sizes`, `activation` and `dropout`.
    input_shape : tuple of int, optional
        The image (h, w, c), channels last, that a row of X is; (1, 1, n_features) by default.
    optimizer : str
        By the name that people type (`triptych.spec.optimizers.optimizer`).
    learning_rate_init : float, optional
        The optimizer's own by default.
    l2 : float
        λ of the penalty ½·λ·Σ kernel², which has no part in the loss that is reported.
    label_smoothing : float
    class_weight : dict, "balanced" or None
        By label; 1 where it has none.
    batch_size : int, "auto" or "full"
        ``auto`` is min(200, n_samples); ``full`` sees all rows in every step.
    max_iter : int
        Epochs at most.
    early_stopping : bool
        Whether to set `validation_fraction` aside, class by class, to stop by the accuracy on it,
        and to go back to the best epoch; otherwise the training loss decides when to stop, and the
        last weights stay.
    validation_fraction : float
    n_iter_no_change : int or inf
        Epochs in a row without a value better by `tol` after which to stop. With inf all are made,
        and no warning is given.
    tol : float
    random_state : int, RandomState or None
        An int is the seed of the recipe itself.
    verbose : bool
        Whether to print a line an epoch.
    warm_start : bool
        Whether `fit` begins with the weights of the last one; the optimizer's slots begin anew.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Where X had names.
    n_iter_ : int
        Epochs of the last `fit`, and calls of `partial_fit` since.
    loss_, loss_curve_ : float, list of float
        The mean training loss of the last epoch; of every epoch.
    validation_scores_ : list of float or None
        The accuracy after each epoch, with `early_stopping`.
    state_ : dict of str to ndarray
        Weights, buffers and slots by name (`triptych.core.state`).
    network_, recipe_ : Network, Recipe
        What was trained, and how.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @value_errors()
    def fit(self, X: Any, y: Any) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            A sparse one is made dense.
        y : array-like, shape (n_samples,)
            Labels of any kind.

        Raises
        ------
        ValueError
            Where a parameter, X or y makes no sense, or the training diverges.
        """
        warm = self.warm_start and hasattr(self, "state_")
        recipe = self._recipe(_seed(self.random_state))
        x, y = self._checked(X, y, recipe.dtype, reset=not warm)
        classes = unique_labels(y)
        if warm and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start needs the classes of the last fit, {self.classes_}; y has {classes}"
            )
        self.classes_ = classes
        weights = self._without_slots() if warm else {}
        training = self._begun(x, y, recipe, weights, 0)
        self._train(training)
        if training.position.stopped is None and self.n_iter_no_change != inf:
            warn(
                f"max_iter={self.max_iter} epochs were made and the training has not converged yet",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    @value_errors()
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Make one epoch on these rows, from the present weights and slots.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        classes : array-like, shape (n_classes,), optional
            Every label that may occur; needed in the first call.

        Raises
        ------
        ValueError
            As of `fit`; and where a label is not among the classes.
        """
        first = not hasattr(self, "state_")
        _check_partial_fit_first_call(self, classes)
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' needs all of y, which partial_fit does not see; give a "
                "dict"
            )
        before: State = {} if first else self.state_
        curve: list[float] = [] if first else self.loss_curve_
        seed = _seed(self.random_state) if first else self.recipe_.seed
        recipe = replace(self._recipe(seed), epochs=len(curve) + 1, validation=0.0, callbacks=())
        if not first and self._has_other_optimizer(recipe):
            before = self._without_slots()  # slots of another optimizer have another meaning
        x, y = self._checked(X, y, recipe.dtype, reset=first)
        self._train(self._begun(x, y, recipe, before, len(curve)), curve)
        return self

    def predict(self, X: Any) -> Array:
        """Return the label with the largest logit of each row, shape (n_samples,)."""
        predicted = metrics.predictions(self._logits(X))
        return self.classes_[predicted]

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities in the order of `classes_`, shape (n_samples, n_classes)."""
        return softmax(self._logits(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities; none is -inf by rounding."""
        return log_softmax(self._logits(X), axis=1)

    def _checked(self, X: Any, y: Any, dtype: str, *, reset: bool) -> tuple[Array, Array]:
        """Return rows in `dtype`, dense, and labels; raise ValueError in scikit-learn's words."""
        x, y = validate_data(self, X, y, accept_sparse="csr", dtype=dtype, reset=reset)
        check_classification_targets(y)
        return _rows(x), y

    def _begun(self, x: Array, y: Array, recipe: Recipe, before: State, epochs: int) -> Training:
        """Return a training that goes on from the arrays of a state, after a number of epochs."""
        network = self._network(x.shape[1], len(self.classes_))
        if before and network != self.network_:
            raise SpecError(
                "this network is not the one that was fitted, so it cannot go on; fit with "
                "warm_start=False first"
            )
        if self.class_weight is not None:
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            recipe = replace(
                recipe, loss=replace(recipe.loss, class_weights=tuple(weights.tolist()))
            )
        labels = LabelEncoder().fit(self.classes_).transform(y).astype(np.int32)
        train = Split(x.reshape(-1, *network.input_shape), labels)
        validation = None
        if recipe.validation:
            train, validation = stratified(train, recipe.seed, recipe.validation, "validation")
        start = state.initial(network, recipe)
        for name, array in state.cast(before, recipe.dtype).items():
            if name in start:
                start[name] = array
        engine = registry.create(
            self.engine, network, recipe, device=self.device, backend=self.backend
        )
        engine.load(start)
        # `api.training_session` would not do: it tests a test split at the end, which there is not,
        # and cannot begin with the arrays and the epochs that `partial_fit` and `warm_start` keep.
        training = Training(engine, BatchPlanner(network, recipe, len(train)), train, validation)
        training.position.step = epochs * training.planner.steps_per_epoch
        return training

    def _has_other_optimizer(self, recipe: Recipe) -> bool:
        """Return whether a recipe has another optimizer than the last one; the rate may differ."""
        fitted = self.recipe_.optimizer
        return replace(recipe.optimizer, rate=fitted.rate) != fitted

    def _without_slots(self) -> State:
        return {
            name: array
            for name, array in self.state_.items()
            if state.kind(name) in ("weights", "buffers")
        }

    def _train(self, training: Training, curve: Sequence[float] = ()) -> None:
        """Train to the end, and keep what comes of it; the curve is that of the epochs before."""
        for event in training.events():
            if self.verbose and isinstance(event, EpochEnded):
                print(_epoch_line(event))
        training.finish()
        history = training.position.history
        self.network_ = training.planner.network
        self.recipe_ = training.recipe
        self.state_ = training.engine.state()
        self.loss_curve_ = [*curve, *(epoch["loss"] for epoch in history)]
        self.loss_ = self.loss_curve_[-1]
        self.n_iter_ = len(self.loss_curve_)
        self.validation_scores_ = (
            [epoch["validation_accuracy"] for epoch in history] if training.validation else None
        )

    @value_errors()
    def _logits(self, X: Any) -> Array:
        """Return the logits of each row, shape (n_samples, n_classes)."""
        check_is_fitted(self, "state_")
        x = _rows(
            validate_data(self, X, accept_sparse="csr", dtype=self.recipe_.dtype, reset=False)
        )
        return compute_logits(
            self.network_,
            self.recipe_,
            self.state_,
            x,
            engine=self.engine,
            backend=self.backend,
            device=self.device,
        )


def _epoch_line(epoch: EpochEnded) -> str:
    line = f"epoch {epoch.epoch}, loss {epoch.loss:.6g}"
    if epoch.validation_accuracy is not None:
        line += f", validation_accuracy {epoch.validation_accuracy:.6g}"
    return line


def _rows(rows: Any) -> Array:
    return rows.toarray() if issparse(rows) else rows


def _seed(random_state: Any) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
