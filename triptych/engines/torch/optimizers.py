"""The updates: torch.optim wherever its formula is the one asked for, and a class of our own where it is not."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...spec import optimizers as spec
from ...spec.losses import Clip
from ...spec.recipe import Recipe

# What torch.optim calls the specification's slots.
SLOTS: dict[type[spec.Optimizer], dict[str, str]] = {
    spec.SGD: {"velocity": "momentum_buffer"},
    spec.Adam: {"m": "exp_avg", "v": "exp_avg_sq"},
    spec.AdamW: {"m": "exp_avg", "v": "exp_avg_sq"},
    spec.Nadam: {"m": "exp_avg", "v": "exp_avg_sq"},
    spec.RMSprop: {"v": "square_avg", "velocity": "momentum_buffer"},
    spec.Adagrad: {"v": "sum"},
    spec.Adadelta: {"v": "square_avg", "u": "acc_delta"},
}


def optimizer(o: spec.Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    # One fused kernel per step, where there is one: the results are the same to the bit (D93).
    fused = parameters[0].device.type in ("cpu", "cuda", "mps")
    decay = (
        0.0 if o.decoupled else o.weight_decay
    )  # decoupled decay is taken off before the step, but by AdamW itself
    match o:
        case spec.SGD(momentum=0) | spec.SGD(velocity="gradients"):
            return torch.optim.SGD(
                parameters, o.rate, o.momentum, weight_decay=decay, nesterov=o.nesterov, fused=fused
            )
        case spec.AdamW(decoupled=True):
            return torch.optim.AdamW(
                parameters, o.rate, (o.beta1, o.beta2), o.epsilon, o.weight_decay, fused=fused
            )
        case spec.Adam():
            return torch.optim.Adam(
                parameters, o.rate, (o.beta1, o.beta2), o.epsilon, decay, fused=fused
            )
        case spec.Nadam():
            return torch.optim.NAdam(
                parameters, o.rate, (o.beta1, o.beta2), o.epsilon, decay, o.psi
            )
        case (
            spec.RMSprop(epsilon_inside=False, momentum=0)
            | spec.RMSprop(epsilon_inside=False, velocity="gradients")
        ):
            return torch.optim.RMSprop(parameters, o.rate, o.rho, o.epsilon, decay, o.momentum)
        case spec.Adagrad(epsilon_inside=False):
            return torch.optim.Adagrad(parameters, o.rate, 0, decay, o.initial, o.epsilon)
        case spec.Adadelta():
            return torch.optim.Adadelta(parameters, o.rate, o.rho, o.epsilon, decay)
        case spec.SGD() | spec.RMSprop() | spec.Adagrad():
            return Other(o, parameters, decay)
        case other:
            raise TypeError(f"PyTorch: no optimizer for {other}")


class Other(torch.optim.Optimizer):
    """What Keras computes and torch.optim does not: a velocity of steps (D54), epsilon inside the root (D48, D49)."""

    def __init__(self, o: spec.Optimizer, parameters: list[nn.Parameter], decay: float) -> None:
        super().__init__(parameters, {"lr": o.rate})
        self.spec, self.decay = o, decay

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        for group in self.param_groups:
            for w in group["params"]:
                g = w.grad.add(w, alpha=self.decay) if self.decay else w.grad
                w.sub_(self._change(self.spec, g, self.state[w], group["lr"]))

    def _change(
        self, o: spec.Optimizer, g: Tensor, state: dict[str, Tensor], rate: float
    ) -> Tensor:
        match o:
            case spec.SGD():
                return self._velocity(o, g, state, rate, o.nesterov)
            case spec.RMSprop():
                v = state["square_avg"].mul_(o.rho).addcmul_(g, g, value=1 - o.rho)
                return self._velocity(o, g / root(v, o), state, rate)
            case spec.Adagrad():
                return rate * g / root(state["sum"].addcmul_(g, g), o)
            case other:
                raise TypeError(f"PyTorch: no update for {other}")

    def _velocity(
        self,
        o: spec.Momentum,
        g: Tensor,
        state: dict[str, Tensor],
        rate: float,
        nesterov: bool = False,
    ) -> Tensor:
        if not o.momentum:
            return rate * g
        if o.velocity == "steps":
            g, rate = rate * g, 1.0
        velocity = state["momentum_buffer"].mul_(o.momentum).add_(g)
        return rate * (g + o.momentum * velocity if nesterov else velocity)


def root(v: Tensor, o: spec.RMSprop | spec.Adagrad) -> Tensor:
    return (v + o.epsilon).sqrt() if o.epsilon_inside else v.sqrt() + o.epsilon


def kept(o: spec.Optimizer, slots: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    """Return what torch.optim keeps for one parameter after `step` steps."""
    state = {SLOTS[type(o)][name]: slot for name, slot in slots.items()}
    device = next(iter(slots.values())).device if slots else None
    if not isinstance(o, spec.SGD):  # theirs counts in float32 on the device
        state["step"] = torch.tensor(float(step), device=device)
    if isinstance(o, spec.Nadam):  # theirs would be float32 at first, even for float64 weights
        dtype = torch.float32 if device and device.type == "mps" else torch.float64
        state["mu_product"] = torch.tensor(o.product(step), dtype=dtype, device=device)
    return state


@torch.no_grad()
def update(
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    kernels: list[nn.Parameter],
    rate: float,
    step: int,
) -> None:
    """Turn gradients into new weights.

    Parameters
    ----------
    recipe : Recipe
    optimizer : torch.optim.Optimizer
    kernels : list of nn.Parameter
        What the L2 penalty is on.
    rate : float
    step : int
        The number of this step, from 1.
    """
    o, parameters = recipe.optimizer, optimizer.param_groups[0]["params"]
    if recipe.loss.l2:
        for kernel in kernels:
            kernel.grad.add_(kernel, alpha=recipe.loss.l2)
    clip([p.grad for p in parameters], recipe.clip)
    if o.weight_decay and o.decoupled and not isinstance(o, spec.AdamW):
        torch._foreach_mul_(parameters, 1 - rate * o.weight_decay)
    for group in optimizer.param_groups:
        group["lr"] = rate
        if (
            isinstance(o, spec.Adam) and o.epsilon_first
        ):  # theirs comes after the bias correction (D47)
            group["eps"] = o.epsilon / math.sqrt(1 - o.beta2**step)
    optimizer.step()


def clip(gradients: list[Tensor], how: Clip) -> None:
    """As torch.nn.utils.clip_grad_norm_, whose epsilon is always 1e-6 (D60), and clip_grad_value_."""
    if how.limit is None:
        return
    if how.by == "value":
        torch._foreach_clamp_min_(gradients, -how.limit)
        torch._foreach_clamp_max_(gradients, how.limit)
    else:
        norm = nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, (how.limit / (norm + how.epsilon)).clamp(max=1.0))
