"""Mistakes that any engine can make at its interface: in what it is given, and in its layouts."""

from dataclasses import replace

import numpy as np
from mutation.planting import (
    NETWORKS,
    Mutation,
    stored,
    trained,
    with_layout,
    with_plan,
    with_state,
)

from triptych.core.plan import Plan
from triptych.core.state import State
from triptych.spec.optimizers import optimizer


def one_nan(state: State) -> State:
    bias = state["output/bias"].copy()
    bias[4] = np.nan
    return state | {"output/bias": bias}


def slots_forgotten(state: State) -> State:
    """Begun as the framework's own optimizer begins: with its slots at 0."""
    return {
        name: np.zeros_like(a) if name.endswith(("/m", "/v", "/velocity")) else a
        for name, a in state.items()
    }


def as_channels_first(plan: Plan) -> Plan:
    """The mask of an image, drawn channels last, taken as if it were (c, h, w)."""
    masks = {}
    for layer, (h, w, c) in (pair for pair in NETWORKS["smooth"].dropouts if len(pair[1]) == 3):
        mask = plan.dropout_masks[layer.name]
        masks[layer.name] = np.moveaxis(mask.reshape(*mask.shape[:2], c, h, w), 2, -1)
    return replace(plan, dropout_masks=plan.dropout_masks | masks)


def flat_as_channels_first(plan: Plan) -> Plan:
    """The mask after a flatten, whose order is (h, w, c), taken as if it were (c, h, w)."""
    mask = plan.dropout_masks["dropout2"]
    channels_first = mask.reshape(*mask.shape[:2], 4, 3, 3)  # 36 features of 3×3×4
    return replace(
        plan,
        dropout_masks=plan.dropout_masks
        | {"dropout2": np.moveaxis(channels_first, 2, -1).reshape(mask.shape)},
    )


transposed = stored("output/kernel", lambda kernel: kernel.T)  # (in, out) read as (out, in)
other_weights = with_state(lambda state: state | {"hidden/kernel": state["hidden/kernel"] * 1.001})
other_order = with_plan(lambda plan: replace(plan, indices=np.roll(plan.indices, 1, axis=1)))
float32_rate = with_plan(
    lambda plan: replace(plan, rates=plan.rates.astype(np.float32).astype(np.float64))
)
other_masks = with_plan(
    lambda plan: replace(
        plan,
        dropout_masks={name: np.roll(mask, 1, axis=1) for name, mask in plan.dropout_masks.items()},
    )
)

MUTATIONS = [
    Mutation("transposed kernel, PyTorch", transposed, "output", "output", engine="torch"),
    Mutation("transposed kernel, TensorFlow", transposed, "output", "output", engine="tensorflow"),
    Mutation("transposed kernel, JAX", transposed, "output", "output", engine="jax"),
    Mutation("other initial weights", other_weights, "initial state", "hidden", engine="torch"),
    Mutation(
        "one NaN",
        with_state(one_nan),
        "initial state",
        "output",
        engine="tensorflow",
        array="output/bias",
    ),
    Mutation(
        "accumulator that begins at 0, D49",
        with_state(slots_forgotten),
        "initial state",
        "hidden",
        engine="torch",
        recipe=trained(optimizer=optimizer("adagrad", like="keras")),
        array="hidden/kernel/v",
    ),
    Mutation("other order", other_order, "output", "flatten", engine="torch"),
    Mutation("other order, TensorFlow", other_order, "output", "flatten", engine="tensorflow"),
    Mutation(
        "float32 learning rate in a float64 run, D62",
        float32_rate,
        "update",
        "hidden",
        engine="torch",
    ),
    Mutation(
        "float32 learning rate, TensorFlow", float32_rate, "update", "hidden", engine="tensorflow"
    ),
    Mutation("float32 learning rate, JAX", float32_rate, "update", "hidden", engine="jax"),
    Mutation(
        "other masks", other_masks, "output", "dropout1", network="regularized", engine="torch"
    ),
    Mutation(
        "mask of an image in another layout",
        with_plan(as_channels_first),
        "output",
        "dropout1",
        "smooth",
        "torch",
    ),
    Mutation(
        "mask after a flatten in another layout",
        with_plan(flat_as_channels_first),
        "output",
        "dropout2",
        "smooth",
        "torch",
    ),
    Mutation(
        "channel order at the flatten",
        with_layout("torch", folded="(h w c) o -> o (h w c)"),
        "output",
        "hidden1",
        "smooth",
        "torch",
    ),
    Mutation(
        "channel order of norms after a flatten",
        with_layout("torch", folded_vector="(h w c) -> (h w c)"),
        "gradient",
        "norm6",
        "normed",
        "torch",
    ),
]
