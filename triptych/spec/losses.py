"""The loss as plain data: softmax cross-entropy with label smoothing and class weights; and what happens to its gradients.

With p the softmax of a sample's logits, y its label, C classes, s the smoothing, w the class weights (1 where there are none):

    q = (1 - s)·one_hot(y) + s/C                       (Szegedy et al. 2016, section 7)
    loss of a sample = Σ_c t_c·(-log p_c)              t_c = q_c·w_c by terms, q_c·w_y by samples
    loss of a batch = Σ loss of a sample / D           D = Σ w_y, or the number of samples

PyTorch weighs terms and divides by the sum of weights, Keras weighs samples and divides by their number (D40); without
weights they agree (D41). The L2 penalty is ½·λ·Σ kernel², so that its gradient is λ·kernel (D58: Keras's L2(c) is c = λ/2);
it has no part in the loss that is reported. After it, gradients are clipped, by value or by their global norm over all
parameters: g ← g·min(1, limit/(norm + epsilon)), with epsilon 0, or 1e-6 in PyTorch (D59, D60).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import SpecError, suggest
from .validation import check_number

Weigh = Literal["terms", "samples"]
Divide = Literal["weights", "samples"]
ClipBy = Literal["norm", "value"]


@dataclass(frozen=True)
class Loss:
    """Softmax cross-entropy, and the penalty.

    Attributes
    ----------
    label_smoothing : float
        s, in [0, 1).
    class_weights : tuple of float
        One for each class, above 0; empty for none.
    weigh : "terms" or "samples"
    divide : "weights" or "samples"
        What the sum is divided by.
    l2 : float
        λ of the penalty on all kernels, at least 0.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    weigh: Weigh = "terms"
    divide: Divide = "weights"
    l2: float = 0.0

    def __post_init__(self) -> None:
        check_number("loss", "label_smoothing", self.label_smoothing, 0, 1)
        if self.label_smoothing == 1:
            raise SpecError("loss: label_smoothing must be below 1, so that the label still counts")
        check_number("loss", "l2", self.l2, 0)
        if not isinstance(self.class_weights, tuple):
            raise SpecError(
                f"loss: class_weights must be a list of numbers, one for each class, not {self.class_weights!r}"
            )
        for weight in self.class_weights:
            check_number(
                "loss", "a class weight", weight, 0, above=True
            )  # of 0 alone a batch would be divided by 0
        for name, known in (("weigh", get_args(Weigh)), ("divide", get_args(Divide))):
            if getattr(self, name) not in known:
                raise SpecError(
                    f"loss: {name} {getattr(self, name)!r} is unknown; {suggest(str(getattr(self, name)), known)}"
                )

    def check_fits(self, classes: int) -> None:
        """Raise `SpecError` where there are class weights for another number of classes."""
        if self.class_weights and len(self.class_weights) != classes:
            raise SpecError(
                f"loss: {len(self.class_weights)} class weights where the network ends in {classes} logits"
            )

    def tables(self, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what follows from a label.

        Returns
        -------
        targets : ndarray of float64, shape (classes, classes)
            Row y holds t of a sample with label y.
        divisors : ndarray of float64, shape (classes,)
            What such a sample adds to D.
        """
        return _tables(self, classes)

    def divisor(self, labels: NDArray[np.integer], classes: int) -> float:
        """Return D of a batch."""
        if not self.class_weights:
            return float(len(labels))
        return float(self.tables(classes)[1][labels].sum())


@cache  # asked for in every step of the NumPy engine
def _tables(loss: Loss, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weights = np.array(loss.class_weights or (1.0,) * classes)
    q = (1 - loss.label_smoothing) * np.eye(classes) + loss.label_smoothing / classes
    targets = q * (weights if loss.weigh == "terms" else weights[:, None])
    divisors = weights if loss.divide == "weights" else np.ones(classes)
    for table in (targets, divisors):
        table.setflags(write=False)  # all who ask share them
    return targets, divisors


@dataclass(frozen=True)
class Clip:
    """A bound on gradients, none by default.

    Attributes
    ----------
    limit : float or None
        Above 0.
    by : "norm" or "value"
    epsilon : float
        Added to the norm.
    """

    limit: float | None = None
    by: ClipBy = "norm"
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if self.limit is not None:
            check_number("clip", "limit", self.limit, 0, above=True)
        check_number("clip", "epsilon", self.epsilon, 0)
        if self.by not in get_args(ClipBy):
            raise SpecError(
                f"clip: by {self.by!r} is unknown; {suggest(str(self.by), get_args(ClipBy))}"
            )


# Where the frameworks' own losses and clipping differ from the defaults above.
LIKE: dict[str, dict[str, dict[str, Any]]] = {
    "torch": {"loss": {}, "clip": {"epsilon": 1e-6}},
    "keras": {"loss": {"weigh": "samples", "divide": "samples"}, "clip": {}},
}
