"""How it is trained: every number explicit, JSON in and out.

The formulas stand in `triptych.spec.optimizers`, `triptych.spec.losses`, `triptych.spec.schedules` and
`triptych.spec.augmentation`. They are the specification's, and the NumPy engine is the specification.
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


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are the original's: full batch, SGD 0.1, 500 epochs.

    Attributes
    ----------
    epochs : int
    batch_size : int or "full"
        The last batch of an epoch may be smaller; it counts as a step of its own size.
    optimizer : Optimizer
    seed : int
        Weights, order, masks and the split of a single file all follow from it.
    dtype : "float32" or "float64"
    random : "matched" or "free"
        Matched: dropout masks are drawn once and fed to every engine. Free: each framework draws its own.
    loss : Loss
    clip : Clip
    augmentation : Augmentation
        What is done to training images; the same for every engine in either mode.
    schedule : RateSchedule
        The factor on the optimizer's rate, step by step.
    validation : float
        The share of the training split, in [0, 1), that is set aside by seed, class by class, to be looked at after each epoch.
    callbacks : tuple of ImprovementTracker
        What may cut the rate or end the training, at most one of a kind.
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
        if self.seed >= 2**63:
            raise SpecError(f"recipe: seed must be below 2⁶³, not {self.seed}")
        if self.schedule.warmup >= self.epochs:
            raise SpecError(
                f"recipe: a warm-up of {self.schedule.warmup:g} epochs never ends in a run of {self.epochs}; give fewer"
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
                    f"recipe: {callback.name} watches {callback.monitor}, but nothing is set aside; give validation, 0.1 say, or watch loss"
                )

    def to_json(self) -> dict[str, Any]:
        chosen = {
            "optimizer": to_json(self.optimizer),
            "loss": to_json(self.loss),
            "schedule": to_json(self.schedule),
            "callbacks": [to_json(callback) for callback in self.callbacks],
        }
        return asdict(self) | chosen

    @classmethod
    def from_json(cls, data: Any) -> "Recipe":
        """Read what `to_json` wrote, or a part of it: what is left out is at its default.

        With a key ``like``, "torch" or "keras", the defaults and formulas of optimizer, loss and clipping are that framework's.

        Raises
        ------
        SpecError
            Naming the unknown key and its nearest valid one, or the number out of range.
        """
        known = {f.name for f in fields(cls)}
        values = check_keys(data, known | {"like"}, "recipe", known | {"like"})
        like = values.pop("like", None)
        if like is not None:
            check_framework(like)
            # These parts have defaults of their own in that framework.
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
        """Raise `SpecError` where the network's images or logits cannot be treated so."""
        self.loss.check_fits(network.classes)
        self.augmentation.check_fits(network.input_shape)
