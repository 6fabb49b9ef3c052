"""The interface that an adapter has for each framework."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from ...errors import TriptychError
from ..observation import Arrays, Change, Description, Observation, Updates

# The modules of the adapters, by the module without which a model for them cannot exist.
ADAPTERS = {
    "torch": "triptych.doctor.frameworks.torch.adapter",
    "keras": "triptych.doctor.frameworks.keras.adapter",
    "triptych.doctor.frameworks.network.adapter": "triptych.doctor.frameworks.network.adapter",
    "triptych.doctor.frameworks.onnx.reading": "triptych.doctor.frameworks.onnx.adapter",
}


# Takes a function with its parameters, whatever they are arrays of.
OF_FUNCTIONS = "triptych.doctor.frameworks.function.adapter"


class ModelError(TriptychError):
    """The user's model, file or batch cannot be used; the message says why."""


class Unsupported(ModelError):
    """A side lacks what was asked for: an optimizer, or such a setting of a layer."""


@dataclass(frozen=True)
class UserCalls:
    """What a user runs again and again, as written: what is timed.

    Attributes
    ----------
    train : callable or None
        Makes one training step and waits for its end: forward pass, loss, backward pass, update.
        None if the side lacks a loss or an optimizer.
    infer : callable
        Runs the model once in evaluation mode and waits for its end.
    set_training : callable
        Is called with True before `train`, with False before `infer`; its time does not count.
    train_code, infer_code : str
        How a user writes both.
    threads : int or None
        The number of threads of the framework, if it tells.
    """

    train: Callable[[], Any] | None
    infer: Callable[[], Any]
    set_training: Callable[[bool], None]
    train_code: str
    infer_code: str
    threads: int | None


class Adapter(Protocol):
    """One side in its framework and in one dtype.

    An adapter is made by ``Adapter(parts, dtype)`` of its module. The dict ``parts`` is what
    ``build()`` returned, and ``dtype`` is one of `triptych.doctor.observation.DTYPES`. Every method
    leaves weights, buffers, optimizer and modes as they were, except `load`, `change` and
    `restore`. All arrays are in the canonical layout.

    A module also has ``accepts(model)``, whether it can observe a model. It may have two context
    managers: ``double_precision()``, in which the framework makes new weights and arrays in
    float64, and ``building()``, in which each model of a side is built: the layers get the same
    names each time. A model that is built by its first call is built by `inputs`, which must be
    called before anything else.
    """

    def description(self) -> Description:
        """Return what this side consists of."""
        ...

    def inputs(self, batch: Arrays) -> Arrays:
        """Return what the model gets: ``input``, ``input1``, … after the user's preprocessing.

        Parameters
        ----------
        batch : dict of str to ndarray
            The shared batch: ``x``, ``x2``, …; ``y``; ``val_loss``.
        """
        ...

    def weights(self) -> Arrays:
        """Return all weights and buffers, by ``PATH/ROLE``."""
        ...

    def framework_weights(self) -> Arrays:
        """Return all weights and buffers by the framework's names, in its layout.

        These are the keys of PyTorch's ``state_dict``, or the paths of Keras' variables.
        """
        ...

    def load(self, weights: Arrays) -> None:
        """Set weights and buffers; those that are not given stay as they are.

        Raises
        ------
        ModelError
            If a name is unknown or a shape does not fit.
        """
        ...

    def separate(self, paths: Sequence[str]) -> None:
        """Show attention layers as the dense layers that they consist of, from now on.

        The layer ``PATH`` becomes ``PATH.query``, ``PATH.key``, ``PATH.value`` and ``PATH.output``.

        Raises
        ------
        Unsupported
            If a layer has more than these.
        """
        ...

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
    ) -> Observation:
        """Run the model once.

        Parameters
        ----------
        inputs : dict of str to ndarray
            ``input``, ``input1``, … as `inputs` returns them.
        training : bool
            Training or evaluation mode.
        targets : dict of str to ndarray, optional
            ``y``. If given, the loss and the gradients are computed.
        forced : dict of str to ndarray, optional
            What the other side has, by this side's numbers of anchors: ``NUMBER/input`` is fed to
            the layer in place of what arrives, and ``NUMBER/output`` is handed on in place of what
            the layer returns. ``NUMBER/input`` of the result is what arrived, and ``NUMBER/output``
            what the layer made of the forced input. With targets, nothing propagates either:
            the gradient of each weight is that of its layer alone, from the forced input and the
            forced ``NUMBER/output_gradient``; ``NUMBER/input_gradient`` of the result is what the
            layer hands back of that; and ``NUMBER/output_gradient`` what arrives at the anchor's
            output from the forced ``NUMBER/input_gradient`` of the anchors after it, and from the
            loss. Only the number of features must be as in this side's arrays: another padding or
            order of axes, which changes the other axes, may be the fault that is looked for.
        dropout : bool
            Whether dropout, and noise of other layers, is drawn. Otherwise these calls return their
            input, and their settings say whether they were active.
        """
        ...

    def repeat(self, inputs: Arrays) -> Observation:
        """Run the model once more in evaluation mode, with other random numbers."""
        ...

    def loss(self, outputs: Arrays, targets: Arrays) -> Arrays:
        """Return ``loss`` and ``output_gradient`` of the user's loss for given model outputs.

        Parameters
        ----------
        outputs : dict of str to ndarray
            ``output``, ``output1``, … as plain arrays.
        targets : dict of str to ndarray
            ``y``.
        """
        ...

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Start with a new optimizer from the present weights, and apply gradients one by one.

        The schedule advances as in the user's training: after each update or after each epoch.

        Parameters
        ----------
        gradients : sequence of dict
            For each update, the gradient of every trained weight, by ``PATH/ROLE``.
        """
        ...

    def train(self, inputs: Arrays, targets: Arrays, steps: int) -> tuple[Arrays, list[float]]:
        """Make training steps as the user would, without dropout; return weights and losses.

        The weights and buffers afterwards are returned and those before are restored.
        """
        ...

    def rates(self, updates: int) -> list[float]:
        """Return the learning rate of each of so many updates, with a new schedule."""
        ...

    def metric(self, outputs: Arrays, targets: Arrays) -> float:
        """Return the user's metric for given model outputs.

        A metric with a state is updated batch by batch if the user gave a ``batch_size``.
        """
        ...

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Simulate epochs with these validation losses for plateau rules and callbacks.

        Returns
        -------
        dict
            ``rates``: list of float, the rate after each epoch; ``stopped``: int or None, the epoch
            (from 0) after which training was stopped; ``restored``: int or None, the epoch whose
            weights are kept.
        """
        ...

    def batches(self, batch: Arrays) -> list[Arrays]:
        """Return the batches of one epoch, in order, each with ``x``, ``y`` as arrays."""
        ...

    def user_calls(self, inputs: Arrays, targets: Arrays | None) -> UserCalls:
        """Return what is timed, with these inputs and targets.

        The calls change weights, buffers and the optimizer, as those of the user do.
        """
        ...

    def change(self, changes: Sequence[Change]) -> None:
        """Apply changes until `restore`.

        Raises
        ------
        Unsupported
            If a change cannot be applied from outside.
        """
        ...

    def restore(self) -> None:
        """Undo all changes."""
        ...


def check_weights(
    weights: Arrays,
    shapes: Mapping[str, tuple[int, ...]],
    missing: str = "the model has no weight",
) -> None:
    """Raise `ModelError` unless weights can be set.

    Parameters
    ----------
    weights : dict of str to ndarray
        What is to be set.
    shapes : mapping of str to tuple of int
        The shapes of all weights of the model, by their names.
    missing : str
        What the message says of an unknown name, before it.
    """
    for name, array in weights.items():
        if name not in shapes:
            raise ModelError(f"{missing} {name}")
        if shapes[name] != array.shape:
            raise ModelError(f"{name}: has the shape {shapes[name]}, not {array.shape}")


def imported_adapters() -> Iterator[Any]:
    """Yield the modules of the adapters for which a model can exist in this process."""
    for needed, name in ADAPTERS.items():
        if needed in sys.modules:
            yield import_module(name)


def adapter_for(parts: dict[str, Any], dtype: str) -> Adapter:
    """Return the adapter of a model's framework.

    Raises
    ------
    ModelError
        If no adapter takes the model.
    """
    if parts.get("parameters") is not None:
        return import_module(OF_FUNCTIONS).Adapter(parts, dtype)
    model = parts["model"]
    for module in imported_adapters():
        if module.accepts(model):
            return module.Adapter(parts, dtype)
    raise ModelError(
        f"the model is of type {type(model).__name__}, neither a torch.nn.Module nor a "
        "keras.Model nor a function that calls one, nor a trained network of Triptych "
        "nor an ONNX file; a function f(parameters, *inputs) needs its parameters beside it"
    )
