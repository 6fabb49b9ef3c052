"""How it is trained: every number explicit, JSON in and out.

The formulas stand in `triptych.spec.optimizers`, `triptych.spec.losses`, `triptych.spec.schedules` and
`triptych.spec.augmentation`. They are the specification's, and the NumPy engine is the specification.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ..errors import SpecError, suggest
from .augmentation import Augmentation
from .callbacks import CALLBACKS, Monitor
from .losses import LIKE as LOSS_LIKE
from .losses import LOSSES, Clip, Loss, SoftmaxCrossEntropy
from .network import Network
from .optimizers import SGD, Optimizer, check_like, optimizer
from .schedules import SCHEDULES, Constant, RateSchedule
from .serialization import from_json, to_json
from .validation import check_keys, check_number, check_whole

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
    callbacks : tuple of Monitor
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
    callbacks: tuple[Monitor, ...] = ()

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
        for name, choices in (("dtype", DType), ("random", Randomness)):
            if getattr(self, name) not in get_args(choices):
                raise SpecError(
                    f"recipe: {name} {getattr(self, name)!r} is unknown; {suggest(str(getattr(self, name)), get_args(choices))}"
                )

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
            check_like(like)
            begun: dict[str, Any] = {"optimizer": {"name": "sgd"}, "loss": {}, "clip": {}}
            values = begun | values
        if "optimizer" in values:
            values["optimizer"] = _optimizer(values["optimizer"], like)
        if "loss" in values:
            values["loss"] = _loss(values["loss"], like)
        for name, part in (("augmentation", Augmentation), ("clip", Clip)):
            if name in values:
                values[name] = _part(
                    part, name, values[name], LOSS_LIKE[like].get(name, {}) if like else {}
                )
        if "schedule" in values:
            values["schedule"] = from_json(values["schedule"], SCHEDULES, "schedule")
        if "callbacks" in values:
            if not isinstance(values["callbacks"], list):
                raise SpecError(f"recipe: callbacks must be a list, not {values['callbacks']!r}")
            values["callbacks"] = tuple(map(_callback, values["callbacks"]))
        return cls(**values)

    def check_fits(self, network: Network) -> None:
        """Raise `SpecError` where the network's images or logits cannot be treated so."""
        self.loss.check_fits(network.classes)
        self.augmentation.check_fits(network.input_shape)


def _optimizer(data: Any, like: str | None) -> Optimizer:
    numbers: dict[str, Any] = {"like": like} | dict(data) if isinstance(data, Mapping) else {}
    if not isinstance(name := numbers.pop("name", None), str):
        raise SpecError(
            f'recipe: optimizer must be an object with a name, such as {{"name": "adam", "rate": 0.001}}, not {data!r}'
        )
    return optimizer(name, **numbers)


def _loss(data: Any, like: str | None) -> Loss:
    """Read a loss; one without a name, as version 1 wrote it, is softmax cross-entropy."""
    if not isinstance(data, Mapping):
        return _part(SoftmaxCrossEntropy, "loss", data, {})
    values: dict[str, Any] = {str(key): value for key, value in data.items()}
    name = values.pop("name", SoftmaxCrossEntropy.name)
    if not isinstance(name, str) or name not in LOSSES:
        raise SpecError(f"loss {name!r} is unknown; {suggest(str(name), LOSSES)}")
    defaults = LOSS_LIKE[like].get(name, {}) if like else {}
    return _part(LOSSES[name], "loss", values, defaults)


def _callback(data: Any) -> Monitor:
    if not isinstance(data, Mapping) or "like" not in data:
        return from_json(data, CALLBACKS, "callback")
    numbers: dict[str, Any] = {str(key): value for key, value in data.items()}
    name, framework = numbers.pop("name", None), numbers.pop("like")
    if not isinstance(name, str) or name not in CALLBACKS:
        raise SpecError(f"callback {name!r} is unknown; {suggest(str(name), CALLBACKS)}")
    return CALLBACKS[name].like(str(framework), **numbers)


def _part(part: type[Any], what: str, data: Any, defaults: dict[str, Any]) -> Any:
    known = {f.name for f in fields(part)}
    values = defaults | check_keys(data, known, what, known)
    return part(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )
