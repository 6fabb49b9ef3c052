"""How a network is trained: all settings of a training run as plain data.

The formulas are in `triptych.spec.optimizers`, `triptych.spec.losses`, `triptych.spec.schedules`
and `triptych.spec.augmentation`. The NumPy engine is their reference implementation.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ..errors import SpecError
from .augmentation import Augmentation
from .callbacks import ImprovementTracker
from .conventions import check_framework
from .losses import Clip, Loss, SoftmaxCrossEntropy
from .network import Network
from .optimizers import SGD, Optimizer
from .schedules import SCHEDULES, Constant, RateSchedule
from .serialization import (
    augmentation_from_json,
    callback_from_json,
    clip_from_json,
    from_json,
    loss_from_json,
    optimizer_from_json,
    to_json,
)
from .validation import check_choice, check_keys, check_number, check_whole

DType = Literal["float32", "float64"]
Randomness = Literal["matched", "free"]

# What a recipe is made of; a name in place of one of these is a mistake that is easy to make.
PARTS: dict[str, type] = {
    "optimizer": Optimizer,
    "loss": Loss,
    "clip": Clip,
    "augmentation": Augmentation,
    "schedule": RateSchedule,
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; by default in 500 full-batch epochs by SGD with a rate of 0.1.

    Attributes
    ----------
    epochs : int
        How often all training samples are used, at least 1.
    batch_size : int or "full"
        Number of samples in a step. The last batch of an epoch may be smaller.
    optimizer : Optimizer
        The update rule, with its learning rate and weight decay.
    seed : int
        Determines the first weights, the order of samples, dropout masks, augmentations, and how a
        data set without a test split is divided. From 0 to 2⁶³ - 1.
    dtype : "float32" or "float64"
        The type of all floating-point numbers in the training.
    random : "matched" or "free"
        With ``matched`` every engine gets the same dropout masks; with ``free`` each framework
        draws its own.
    loss : Loss
        The loss, with its L2 penalty.
    clip : Clip
        The bound on gradients.
    augmentation : Augmentation
        Random changes of training images; always the same ones in every engine.
    schedule : RateSchedule
        The factor for the optimizer's learning rate in each step.
    validation : float
        The fraction of each class in the training split, in [0, 1), that is evaluated after each
        epoch instead of being trained on. The seed determines the samples.
    callbacks : tuple of ImprovementTracker
        Rules that may reduce the rate or end the training, at most one of each class.
    """

    epochs: int = 500
    batch_size: int | Literal["full"] = "full"
    optimizer: Optimizer = field(default_factory=SGD)
    seed: int = 0
    dtype: DType = "float32"
    random: Randomness = "matched"
    loss: Loss = field(default_factory=SoftmaxCrossEntropy)
    clip: Clip = field(default_factory=Clip)
    augmentation: Augmentation = field(default_factory=Augmentation)
    schedule: RateSchedule = field(default_factory=Constant)
    validation: float = 0.0
    callbacks: tuple[ImprovementTracker, ...] = ()

    def __post_init__(self) -> None:
        check_whole("recipe", "epochs", self.epochs, 1)
        check_whole("recipe", "seed", self.seed, 0)
        for name, kind in PARTS.items():
            part = getattr(self, name)
            if not isinstance(part, kind):
                raise SpecError(f"recipe: {name} must be of class {kind.__name__}, not {part!r}")
        if self.seed >= 2**63:
            raise SpecError(f"recipe: seed must be below 2⁶³, not {self.seed}")
        if self.schedule.warmup >= self.epochs:
            raise SpecError(
                f"recipe: a warm-up of {self.schedule.warmup:g} epochs never ends "
                f"in a run of {self.epochs}; give fewer"
            )
        if self.batch_size != "full":
            check_whole("recipe", "batch_size", self.batch_size, 1, " or 'full'")
        check_choice("recipe", "dtype", self.dtype, get_args(DType))
        check_choice("recipe", "random", self.random, get_args(Randomness))
        check_number("recipe", "validation", self.validation, 0, 1)
        if self.validation == 1:
            raise SpecError(
                "recipe: validation must be below 1, so that something is left to train on"
            )
        for callback in self.callbacks:
            if [other.name for other in self.callbacks].count(callback.name) > 1:
                raise SpecError(
                    f"recipe: two callbacks are {callback.name}; one of a kind is possible"
                )
            if callback.monitor.startswith("validation") and not self.validation:
                raise SpecError(
                    f"recipe: {callback.name} watches {callback.monitor}, but nothing is set "
                    "aside; give validation, 0.1 say, or watch loss"
                )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        chosen = {
            "optimizer": to_json(self.optimizer),
            "loss": to_json(self.loss),
            "schedule": to_json(self.schedule),
            "callbacks": [to_json(callback) for callback in self.callbacks],
        }
        return asdict(self) | chosen

    @classmethod
    def from_json(cls, data: Any) -> "Recipe":
        """Read what `to_json` returned; missing keys have their defaults.

        With a key ``like``, "torch" or "keras", the optimizer, the loss and the clipping have the
        defaults and conventions of that framework.

        Raises
        ------
        SpecError
            If a key is unknown (the message suggests the closest one) or a value is out of range.
        """
        known = {f.name for f in fields(cls)}
        values = check_keys(data, known | {"like"}, "recipe", known | {"like"})
        like = values.pop("like", None)
        if like is not None:
            check_framework(like)
            # The defaults of these parts depend on the framework.
            started: dict[str, Any] = {"optimizer": {"name": "sgd"}, "loss": {}, "clip": {}}
            values = started | values
        if "optimizer" in values:
            values["optimizer"] = optimizer_from_json(values["optimizer"], like)
        if "loss" in values:
            values["loss"] = loss_from_json(values["loss"], like)
        if "clip" in values:
            values["clip"] = clip_from_json(values["clip"], like)
        if "augmentation" in values:
            values["augmentation"] = augmentation_from_json(values["augmentation"])
        if "schedule" in values:
            values["schedule"] = from_json(values["schedule"], SCHEDULES, "schedule")
        if "callbacks" in values:
            if not isinstance(values["callbacks"], list):
                raise SpecError(f"recipe: callbacks must be a list, not {values['callbacks']!r}")
            values["callbacks"] = tuple(map(callback_from_json, values["callbacks"]))
        return cls(**values)

    def check_fits(self, network: Network) -> None:
        """Raise `SpecError` if the loss or the augmentation does not fit the network."""
        self.loss.check_fits(network.classes)
        self.augmentation.check_fits(network.input_shape)
