"""The losses as plain data, and what happens to their gradients: an L2 penalty and a bound.

With z the logits of a batch of B samples, C classes, y the labels and p = softmax(z):

* softmax_cross_entropy, with label smoothing s and class weights w (1 without):
  q = (1 - s)·one_hot(y) + s/C                       (Szegedy et al. 2016, section 7)
  loss of a sample = Σ_c t_c·(-log p_c)              t_c = q_c·w_c by terms, q_c·w_y by samples
  loss of a batch = Σ loss of a sample / D           D = Σ w_y, or the number of samples
  PyTorch weighs terms and divides by the sum of weights; Keras weighs samples and divides by
  their number (D40). Without weights they agree (D41).
* mean_squared_error: Σ_b Σ_c (z_bc - one_hot(y_b)_c)² / (B·C), the mean over samples and classes,
  without a factor ½. Its gradient is 2·(z - one_hot(y)) / (B·C). It is PyTorch's `MSELoss` and
  Keras's `MeanSquaredError`, each with its default reduction.

The L2 penalty is ½·λ·Σ kernel², so that its gradient is λ·kernel (D58: Keras's L2(c) is c = λ/2).
It is not part of the loss that is reported. After the penalty, gradients are clipped, by value or
by their global norm over all parameters: g ← g·min(1, limit/(norm + epsilon)), with epsilon 0, or
1e-6 in PyTorch (D59, D60).
"""

from dataclasses import dataclass, field
from functools import cache
from math import log
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from ..errors import SpecError
from .registry import Registry
from .validation import check_choice, check_number

# NumPy is imported where it is used: commands that compute nothing start faster without it.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weigh = Literal["terms", "samples"]
Divide = Literal["weights", "samples"]
ClipBy = Literal["norm", "value"]


L = TypeVar("L", bound="Loss")

LOSSES: "Registry[type[Loss]]" = Registry()

# The names that users type: those of `LOSSES`, and the shorthands.
LOSS_NAMES: "Registry[type[Loss]]" = Registry()


def register_loss(cls: type[L]) -> type[L]:
    """Make a loss known by its name, in recipes and on the command line; usable as a decorator."""
    LOSSES[cls.name] = cls
    LOSS_NAMES[cls.name] = cls
    if cls.shorthand:
        LOSS_NAMES[cls.shorthand] = cls
    return cls


def loss_names() -> str:
    """Return the names of the losses, for help texts, each with its shorthand."""
    names: list[str] = []
    for name, cls in LOSSES.items():
        names.append(f"{name} ({cls.shorthand})" if cls.shorthand else name)
    return f"{', '.join(names[:-1])} or {names[-1]}"


@dataclass(frozen=True)
class Loss:
    """Base of every loss: a function of logits and labels, and the penalty on kernels.

    Attributes
    ----------
    l2 : float
        λ of the penalty on all kernels, at least 0.
    """

    l2: float = field(default=0.0, kw_only=True)
    name: ClassVar[str]  # in recipes, and on the command line
    shorthand: ClassVar[str] = ""  # a shorter name, which means the same
    label: ClassVar[str]  # in titles

    def __post_init__(self) -> None:
        check_number("loss", "l2", self.l2, 0)

    @classmethod
    def examples(cls) -> "tuple[Loss, ...]":
        """Return small instances for three classes, every option in one of them, for tests."""
        return (cls(),)

    def check_fits(self, classes: int) -> None:
        """Raise `SpecError` if the loss is not defined for this number of classes."""

    def divisor(self, labels: "NDArray[np.integer]", classes: int) -> float:
        """Return what the sum of the samples' losses is divided by, in a batch of these samples.

        The divisors of the parts of a batch add up to that of the batch. By default it is the
        number of samples.

        Parameters
        ----------
        labels : ndarray of int, shape (samples,)
            The classes, from 0.
        classes : int
            How many classes there are.
        """
        del classes
        return float(len(labels))

    def evaluate(self, logits: "NDArray[Any]", labels: "NDArray[np.integer]") -> float:
        """Return the loss of samples that are not trained on, in float64.

        Settings that only shape the training, such as label smoothing and class weights, are left
        out: the value tells how well the network predicts.

        Parameters
        ----------
        logits : ndarray, shape (samples, classes)
            The network's outputs.
        labels : ndarray of int, shape (samples,)
            The correct classes, from 0.
        """
        raise NotImplementedError

    def of_guessing(self, classes: int) -> float:
        """Return what `evaluate` gives for a network that considers all classes equally likely."""
        raise NotImplementedError


@register_loss
@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Softmax cross-entropy with label smoothing and class weights; the default.

    Attributes
    ----------
    label_smoothing : float
        s, in [0, 1).
    class_weights : tuple of float
        One for each class, above 0; empty for none.
    weigh : "terms" or "samples"
        What a class weight multiplies.
    divide : "weights" or "samples"
        What the sum is divided by.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    weigh: Weigh = "terms"
    divide: Divide = "weights"
    name: ClassVar[str] = "softmax_cross_entropy"
    label: ClassVar[str] = "softmax cross-entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("loss", "label_smoothing", self.label_smoothing, 0, 1)
        if self.label_smoothing == 1:
            raise SpecError("loss: label_smoothing must be below 1, so that the label still counts")
        if not isinstance(self.class_weights, tuple):
            raise SpecError(
                "loss: class_weights must be a list of numbers, one for each class, "
                f"not {self.class_weights!r}"
            )
        for weight in self.class_weights:  # a batch of classes of weight 0 would be divided by 0
            check_number("loss", "a class weight", weight, 0, above=True)
        check_choice("loss", "weigh", self.weigh, get_args(Weigh))
        check_choice("loss", "divide", self.divide, get_args(Divide))

    @classmethod
    def examples(cls) -> tuple[Loss, ...]:
        """Return losses with and without smoothing and class weights, in three conventions."""
        weights = (0.5, 2.0, 3.25)
        return (
            cls(),
            cls(0.1),
            cls(0.0, weights),
            cls(0.1, weights),
            cls(0.0, weights, "samples", "samples"),
            cls(0.1, weights, "samples", "samples"),
            cls(0.2, weights, "samples", "weights"),
        )

    def check_fits(self, classes: int) -> None:
        """Raise `SpecError` unless there are no class weights, or one for each class."""
        if self.class_weights and len(self.class_weights) != classes:
            raise SpecError(
                f"loss: {len(self.class_weights)} class weights where the network ends in "
                f"{classes} logits"
            )

    def evaluate(self, logits: "NDArray[Any]", labels: "NDArray[np.integer]") -> float:
        """Return Σ_b (log Σ_c exp(z_bc) - z_by) / B; see the base class."""
        import numpy as np

        z = logits.astype(np.float64)
        z -= z.max(axis=1, keepdims=True)  # the loss does not change, and exp cannot overflow
        right = z[np.arange(len(z)), labels]
        return float((np.log(np.exp(z).sum(axis=1)) - right).mean())

    def of_guessing(self, classes: int) -> float:
        """Return log C."""
        return log(classes)

    def tables(self, classes: int) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
        """Return what follows from a label.

        Returns
        -------
        targets : ndarray of float64, shape (classes, classes)
            Row y holds t of a sample with label y.
        divisors : ndarray of float64, shape (classes,)
            What a sample with label y adds to D.
        """
        return _tables(self, classes)

    def divisor(self, labels: "NDArray[np.integer]", classes: int) -> float:
        """Return D of a batch: the sum of the samples' class weights, or their number."""
        if not self.class_weights:
            return super().divisor(labels, classes)
        return float(self.tables(classes)[1][labels].sum())


@cache  # needed in every step of the NumPy engine
def _tables(
    loss: SoftmaxCrossEntropy, classes: int
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    import numpy as np

    weights = np.array(loss.class_weights or (1.0,) * classes)
    q = (1 - loss.label_smoothing) * np.eye(classes) + loss.label_smoothing / classes
    targets = q * (weights if loss.weigh == "terms" else weights[:, None])
    divisors = weights if loss.divide == "weights" else np.ones(classes)
    for table in (targets, divisors):
        table.setflags(write=False)  # all callers share them
    return targets, divisors


@register_loss
@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """The mean, over samples and classes, of (logit - one_hot(label))²."""

    name: ClassVar[str] = "mean_squared_error"
    shorthand: ClassVar[str] = "mse"
    label: ClassVar[str] = "mean squared error"

    def evaluate(self, logits: "NDArray[Any]", labels: "NDArray[np.integer]") -> float:
        """Return Σ_b Σ_c (z_bc - one_hot(y_b)_c)² / (B·C); see the base class."""
        import numpy as np

        difference = logits.astype(np.float64)
        difference[np.arange(len(difference)), labels] -= 1
        return float((difference**2).mean())

    def of_guessing(self, classes: int) -> float:
        """Return (C - 1)/C², the loss of logits that are all 1/C."""
        return (classes - 1) / classes**2


@dataclass(frozen=True)
class Clip:
    """A bound on gradients, none by default.

    Attributes
    ----------
    limit : float or None
        The bound, above 0; None for none.
    by : "norm" or "value"
        Whether the bound applies to the global norm or to each value.
    epsilon : float
        Added to the norm, at least 0.
    """

    limit: float | None = None
    by: ClipBy = "norm"
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if self.limit is not None:
            check_number("clip", "limit", self.limit, 0, above=True)
        check_number("clip", "epsilon", self.epsilon, 0)
        check_choice("clip", "by", self.by, get_args(ClipBy))
