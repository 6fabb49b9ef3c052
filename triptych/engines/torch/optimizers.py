"""The updates: `torch.optim` wherever its formula is the one of the specification.

A builder of an optimizer is a function ``builder(optimizer, parameters) -> torch.optim.Optimizer``,
where `optimizer` is the specification's. The engine sets ``lr`` before each step, and keeps the
specification's slots in ``state[parameter]`` under their own names, or those given as `slot_names`.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core.builders import BuilderTable
from ...spec import optimizers as spec
from ...spec.losses import Clip
from ...spec.recipe import Recipe

OptimizerBuilder = Callable[[Any, list[nn.Parameter]], torch.optim.Optimizer]


class Registration(NamedTuple):
    """How an optimizer is built, and what its state calls the specification's slots."""

    builder: OptimizerBuilder
    slot_names: dict[str, str]


OPTIMIZERS: BuilderTable[Registration] = BuilderTable("PyTorch", "optimizer")


def register_optimizer(
    spec_class: type[spec.Optimizer],
    builder: OptimizerBuilder,
    slot_names: dict[str, str] | None = None,
) -> None:
    """Use `builder` for optimizers of `spec_class`; see the top of this file."""
    OPTIMIZERS.register(spec_class, Registration(builder, slot_names or {}))


def build_optimizer(
    optimizer: spec.Optimizer, parameters: list[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return PyTorch's counterpart of an optimizer."""
    builder = OPTIMIZERS.find(optimizer).builder
    return builder(optimizer, parameters)


def slot_key(optimizer: spec.Optimizer, slot: str) -> str:
    """Return what PyTorch's optimizer calls a slot of the specification."""
    return OPTIMIZERS.find(optimizer).slot_names.get(slot, slot)


def initial_state(
    optimizer: spec.Optimizer, slots: dict[str, Tensor], step: int
) -> dict[str, Tensor]:
    """Return what PyTorch's optimizer stores for one parameter after `step` steps.

    Parameters
    ----------
    optimizer : Optimizer
    slots : dict of str to Tensor
        The parameter's slots by the specification's names.
    step : int
        The number of steps made so far.
    """
    state = {slot_key(optimizer, slot): tensor for slot, tensor in slots.items()}
    if isinstance(optimizer, spec.SGD):
        return state
    device = next(iter(slots.values())).device if slots else None
    # PyTorch's optimizers count in float32 on the device.
    state["step"] = torch.tensor(float(step), device=device)
    if isinstance(optimizer, spec.Nadam):
        # PyTorch's product begins as float32, even for float64 weights. Apple's device has no
        # other.
        on_apple_gpu = device is not None and device.type == "mps"
        dtype = torch.float32 if on_apple_gpu else torch.float64
        product = optimizer.product(step)
        state["mu_product"] = torch.tensor(product, dtype=dtype, device=device)
    return state


@torch.no_grad()
def apply_update(
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    kernels: list[nn.Parameter],
    rate: float,
    step: int,
) -> None:
    """Turn the gradients of all parameters into new weights.

    Parameters
    ----------
    recipe : Recipe
    optimizer : torch.optim.Optimizer
    kernels : list of nn.Parameter
        The parameters with an L2 penalty.
    rate : float
        The learning rate of this step.
    step : int
        The number of this step, from 1.
    """
    group = optimizer.param_groups[0]
    parameters = group["params"]
    if recipe.loss.l2:
        for kernel in kernels:
            kernel.grad.add_(kernel, alpha=recipe.loss.l2)
    if recipe.clip.limit is not None:
        clip_gradients([parameter.grad for parameter in parameters], recipe.clip)

    formula = recipe.optimizer
    decays_itself = isinstance(formula, spec.AdamW)
    if formula.weight_decay and formula.decoupled and not decays_itself:
        torch._foreach_mul_(parameters, 1 - rate * formula.weight_decay)
    group["lr"] = rate
    if isinstance(formula, spec.Adam) and formula.epsilon_first:
        # PyTorch adds epsilon after the bias correction, Keras before it (D47).
        group["eps"] = formula.epsilon / sqrt(1 - formula.beta2**step)
    optimizer.step()


def clip_gradients(gradients: list[Tensor], clip: Clip) -> None:
    """Clip in place, as `clip_grad_value_`, or as `clip_grad_norm_` with any epsilon (D60)."""
    if clip.limit is None:
        return
    if clip.by == "value":
        torch._foreach_clamp_min_(gradients, -clip.limit)
        torch._foreach_clamp_max_(gradients, clip.limit)
        return
    norm = nn.utils.get_total_norm(gradients)
    factor = (clip.limit / (norm + clip.epsilon)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor)


# --- The optimizers that torch.optim has ---------------------------------------------------------
#
# A fused kernel updates all parameters at once, with the same bits (D93).


def coupled_decay(o: spec.Optimizer) -> float:
    """Return the weight decay that is added to gradients; `apply_update` does the other."""
    return 0.0 if o.decoupled else o.weight_decay


def build_sgd(o: spec.SGD, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of SGD."""
    if o.momentum and o.velocity == "steps":
        return KerasSGD(o, parameters)
    return torch.optim.SGD(
        parameters,
        lr=o.rate,
        momentum=o.momentum,
        weight_decay=coupled_decay(o),
        nesterov=o.nesterov,
        fused=True,
    )


def build_adam(o: spec.Adam, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of Adam."""
    return torch.optim.Adam(
        parameters,
        lr=o.rate,
        betas=(o.beta1, o.beta2),
        eps=o.epsilon,
        weight_decay=coupled_decay(o),
        fused=True,
    )


def build_adamw(o: spec.AdamW, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of AdamW."""
    if not o.decoupled:
        return build_adam(o, parameters)
    return torch.optim.AdamW(
        parameters,
        lr=o.rate,
        betas=(o.beta1, o.beta2),
        eps=o.epsilon,
        weight_decay=o.weight_decay,
        fused=True,
    )


def build_nadam(o: spec.Nadam, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of Nadam."""
    return torch.optim.NAdam(
        parameters,
        lr=o.rate,
        betas=(o.beta1, o.beta2),
        eps=o.epsilon,
        weight_decay=coupled_decay(o),
        momentum_decay=o.psi,
    )


def build_rmsprop(o: spec.RMSprop, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of RMSprop."""
    if o.epsilon_inside or (o.momentum and o.velocity == "steps"):
        return KerasRMSprop(o, parameters)
    return torch.optim.RMSprop(
        parameters,
        lr=o.rate,
        alpha=o.rho,
        eps=o.epsilon,
        weight_decay=coupled_decay(o),
        momentum=o.momentum,
    )


def build_adagrad(o: spec.Adagrad, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of Adagrad."""
    if o.epsilon_inside:
        return KerasAdagrad(o, parameters)
    return torch.optim.Adagrad(
        parameters,
        lr=o.rate,
        weight_decay=coupled_decay(o),
        initial_accumulator_value=o.initial,
        eps=o.epsilon,
    )


def build_adadelta(o: spec.Adadelta, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of Adadelta."""
    return torch.optim.Adadelta(
        parameters, lr=o.rate, rho=o.rho, eps=o.epsilon, weight_decay=coupled_decay(o)
    )


# --- Keras's formulas, which torch.optim does not have -------------------------------------------


class WrittenOut(torch.optim.Optimizer):
    """Base of the optimizers whose formula is written out here, in `change`."""

    def __init__(self, formula: Any, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": formula.rate})
        self.formula = formula

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update all parameters."""
        decay = coupled_decay(self.formula)
        for group in self.param_groups:
            for weight in group["params"]:
                gradient = weight.grad
                if decay:
                    gradient = gradient.add(weight, alpha=decay)
                weight.sub_(self.change(gradient, self.state[weight], group["lr"]))

    def change(self, gradient: Tensor, state: dict[str, Tensor], rate: float) -> Tensor:
        """Advance a parameter's state, and return what is subtracted from its weight."""
        raise NotImplementedError


class KerasSGD(WrittenOut):
    """SGD whose velocity holds steps instead of gradients (D54)."""

    def change(self, gradient: Tensor, state: dict[str, Tensor], rate: float) -> Tensor:
        """See the base class."""
        step = rate * gradient
        velocity = state["momentum_buffer"].mul_(self.formula.momentum).add_(step)
        if self.formula.nesterov:
            return step + self.formula.momentum * velocity
        return velocity


class KerasRMSprop(WrittenOut):
    """RMSprop with epsilon inside the root (D48), or a velocity that holds steps (D54)."""

    def change(self, gradient: Tensor, state: dict[str, Tensor], rate: float) -> Tensor:
        """See the base class."""
        o = self.formula
        square_avg = state["square_avg"].mul_(o.rho).addcmul_(gradient, gradient, value=1 - o.rho)
        scaled = gradient / root(square_avg, o)
        if not o.momentum:
            return rate * scaled
        if o.velocity == "steps":
            return state["momentum_buffer"].mul_(o.momentum).add_(rate * scaled)
        return rate * state["momentum_buffer"].mul_(o.momentum).add_(scaled)


class KerasAdagrad(WrittenOut):
    """Adagrad with epsilon inside the root (D49)."""

    def change(self, gradient: Tensor, state: dict[str, Tensor], rate: float) -> Tensor:
        """See the base class."""
        total = state["sum"].addcmul_(gradient, gradient)
        return rate * gradient / root(total, self.formula)


def root(squares: Tensor, o: spec.RMSprop | spec.Adagrad) -> Tensor:
    """Return the root of an average or sum of squares, with epsilon inside or outside."""
    if o.epsilon_inside:
        return (squares + o.epsilon).sqrt()
    return squares.sqrt() + o.epsilon


MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}

register_optimizer(spec.SGD, build_sgd, {"velocity": "momentum_buffer"})
register_optimizer(spec.Adam, build_adam, MOMENTS)
register_optimizer(spec.AdamW, build_adamw, MOMENTS)
register_optimizer(spec.Nadam, build_nadam, MOMENTS)
register_optimizer(spec.RMSprop, build_rmsprop, {"v": "square_avg", "velocity": "momentum_buffer"})
register_optimizer(spec.Adagrad, build_adagrad, {"v": "sum"})
register_optimizer(spec.Adadelta, build_adadelta, {"v": "square_avg", "u": "acc_delta"})
