"""One layer, the loss or the update of the PyTorch engine at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...core.engine import LayerPullback
from ...core.layout import native_view, to_canonical, to_native
from ...core.state import State
from ...spec.network import Network
from ...spec.placement import Parameter, PlacedLayer, Sizes
from .info import INFO
from .layers import Dropout
from .loss import LossFunction


@dataclass(frozen=True)
class Probe:
    """The parts of an engine; `triptych.core.engine.LayerProbe` describes the methods.

    Attributes
    ----------
    network : Network
        What the engine computes.
    layers : dict of str to Module
        Every layer.
    weights : dict of str to Tensor
        The parameters by their names.
    loss_function : callable
        The loss of logits and labels.
    apply_update : callable
        Takes the learning rate and updates the weights with their ``grad``.
    read : callable
        Returns a tensor in the canonical layout of a parameter.
    """

    network: Network
    layers: dict[str, nn.Module]
    weights: dict[str, Tensor]
    loss_function: LossFunction
    apply_update: Callable[[float], None]
    read: Callable[[Tensor, Parameter], np.ndarray]

    def layer(
        self, name: str, x: np.ndarray, *, training: bool, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, LayerPullback]:
        """Return what a layer makes of an input, and how gradients pass it."""
        place, role, sizes = next(
            found for found in _with_inputs(self.network.chain) if found[0].layer.name == name
        )
        module = self.layers[name].train(training)
        fed = _tensor(role, x, sizes).requires_grad_()
        if isinstance(module, Dropout):
            y = module(fed, None if mask is None else _tensor(role, mask, sizes))
        else:
            y = module(fed)
        parameters = {each.name: self.weights[each.name] for each in place.parameters}

        def pullback(dy: np.ndarray) -> tuple[np.ndarray, State]:
            of_y = _tensor(place.role, dy, place.image_shape)
            dx, *gradients = torch.autograd.grad(y, [fed, *parameters.values()], of_y)
            canonical = {
                each.name: self.read(gradient, each)
                for each, gradient in zip(place.parameters, gradients, strict=True)
            }
            return _array(role, dx, sizes), canonical

        return _array(place.role, y, place.image_shape), pullback

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean data loss of a batch, and its gradient at the logits."""
        z = torch.tensor(logits, requires_grad=True)
        value = self.loss_function(z, torch.from_numpy(labels).long())
        (gradient,) = torch.autograd.grad(value, z)
        return value.item(), gradient.numpy()

    def update(self, gradients: State, rate: float) -> None:
        """Apply gradients as in a step."""
        parameters = {each.name: each for each in self.network.parameters}
        for name, gradient in gradients.items():
            parameter = parameters[name]
            native = native_view(INFO.layout, parameter.role, gradient, parameter.sizes)
            weight = self.weights[name]
            # With the strides of the weight: fused kernels go through both in memory order.
            weight.grad = torch.empty_like(weight, requires_grad=False)
            weight.grad.copy_(torch.from_numpy(np.require(native, requirements="W")))
        self.apply_update(rate)


def _with_inputs(
    places: Sequence[PlacedLayer], sizes: Sizes = ()
) -> Iterator[tuple[PlacedLayer, str, Sizes]]:
    """Yield every layer without inner ones, with the role and the sizes of its input."""
    for place in places:
        if place.branch:
            yield from _with_inputs(place.branch, sizes)
            yield from _with_inputs(place.projection, sizes)
        else:
            role = "flat" if sizes else "vector"
            yield place, "image" if len(place.input_shape) == 3 else role, sizes
        sizes = place.image_shape


def _tensor(role: str, array: np.ndarray, sizes: Sizes) -> Tensor:
    return torch.tensor(np.ascontiguousarray(to_native(INFO.layout, role, array, _of(role, sizes))))


def _array(role: str, tensor: Tensor, sizes: Sizes) -> np.ndarray:
    return np.array(
        to_canonical(INFO.layout, role, tensor.detach().cpu().numpy(), _of(role, sizes))
    )


def _of(role: str, sizes: Sizes) -> Sizes:
    """Return the axis lengths that the layout pattern of a role cannot infer."""
    return sizes if role == "flat" else ()
