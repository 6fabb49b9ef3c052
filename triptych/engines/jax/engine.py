"""JAX: pure functions over a dict of arrays, jax.value_and_grad, K steps in one jitted lax.scan.

But not with convolutions on a processor: inside a loop XLA computes the gradient of a kernel without its fast routines (a step of the
network ``cnn`` takes 6 s in place of 0.17), so each step is a call of its own.

What a function depends on besides arrays is a static argument; equal ones are compiled once in a process, whoever asks.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from math import pi
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.ndimage import map_coordinates

from ...core.devices import find_device
from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.plan import Plan
from ...core.split import Split
from ...core.state import State, check
from ...spec import layers as spec
from ...spec import optimizers as opt
from ...spec.augmentation import Augmentation
from ...spec.losses import Clip, SoftmaxCrossEntropy
from ...spec.network import Network
from ...spec.placement import Layer, with_inner
from ...spec.recipe import Recipe
from .info import INFO

Arrays = dict[str, Array]  # the state by its own names: weights, buffers, slots, step
Carry = tuple[Arrays, Array]  # from step to step: the state, and the key
Steps = dict[str, Any]  # a plan, or one step of it


class DeviceSplit(NamedTuple):
    x: Array
    y: Array


class Seen(NamedTuple):
    """What a forward leaves behind: every layer's output, and in training the running statistics after the step."""

    outputs: Arrays
    buffers: Arrays


class Task(NamedTuple):
    """What a step's gradients depend on, besides arrays."""

    network: Network
    loss: SoftmaxCrossEntropy
    augmentation: Augmentation


class Engine:
    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "scan"
    ) -> None:
        self.network, self.recipe = network, recipe
        self.device = find_device(INFO.label, device, {"cuda": sees_gpu(), "cpu": True})
        self.task = Task(network, recipe.loss, recipe.augmentation)
        self.loops = self.device != "cpu" or not any(
            isinstance(layer, spec.Conv2D) for layer in with_inner(network.layers)
        )
        with self._settings():
            self.key = jax.random.key(recipe.seed)  # masks in free mode
        self.arrays: Arrays = {}
        self.losses: list[Array] = []

    def load(self, state: State) -> None:
        self.names = list(
            check(state, self.network, self.recipe)
        )  # in order, which a dict that went through jit is not
        with self._settings():
            self.arrays = {name: jnp.array(array) for name, array in state.items()}

    def state(self) -> State:
        return {name: np.array(self.arrays[name]) for name in self.names}

    def upload(self, split: Split) -> DeviceSplit:
        with self._settings():
            return DeviceSplit(
                jnp.asarray(split.pixels(self.recipe.dtype)), jnp.asarray(split.labels)
            )

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        with self._settings():
            how, carry, steps = (
                (self.task, self.recipe.optimizer, self.recipe.clip, data),
                (self.arrays, self.key),
                self._steps(plan),
            )
            if self.loops:
                carry, losses = train(*how, carry, steps)
                self.losses.append(losses)
            else:
                for k in range(len(plan)):
                    carry, loss = once(*how, carry, at(steps, k))
                    self.losses.append(loss)
            self.arrays, self.key = carry

    def wait(self) -> np.ndarray:
        losses = np.hstack(self.losses) if self.losses else np.zeros(0, self.recipe.dtype)
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        with self._settings():
            return np.concatenate(
                [
                    evaluate(self.network, self.arrays, data.x[i : i + SAMPLES_EVALUATED_AT_ONCE])
                    for i in range(0, len(data.x), SAMPLES_EVALUATED_AT_ONCE)
                ]
            )

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        with self._settings():
            step = at(self._steps(plan), 0)
            loss, found, seen, self.key = traced(self.task, self.arrays, self.key, data, step)
        forward = {
            f"output/{p.layer.name}": np.array(seen.outputs[p.layer.name])
            for p in self.network.places
            if outputs
        }
        return (
            forward
            | {"loss": np.array(loss)}
            | {f"gradient/{name}": np.array(found[name]) for name in self.network.gradient_order}
        )

    def _steps(self, plan: Plan) -> Steps:
        return {
            "order": plan.indices,
            "rate": plan.rates.astype(self.recipe.dtype),
            "keep": plan.dropout_masks,
            "drawn": plan.augmentations,
        }

    @contextmanager
    def _settings(self) -> Generator[None]:
        """For as long as this engine computes: float64 beside float32, float32 products that are not cut to TF32, its device."""
        device = jax.devices(self.device)[0]
        with (
            jax.enable_x64(True),
            jax.default_matmul_precision("highest"),
            jax.default_device(device),
        ):
            yield


def at(steps: Steps, k: int) -> Steps:
    """Return step k of a plan."""
    return jax.tree.map(lambda array: array[k], steps)


def sees_gpu() -> bool:
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:
        return False


# --- The step --------------------------------------------------------------------------------------------------------


def step(
    task: Task, o: opt.Optimizer, clip: Clip, data: DeviceSplit, carry: Carry, now: Steps
) -> tuple[Carry, Array]:
    """Return arrays and key after one step, and its loss."""
    arrays, key = carry
    loss, found, seen, key = gradients(task, arrays, key, data, now)
    return (updated(task.loss, clip, o, arrays | seen.buffers, found, now["rate"]), key), loss


once = jax.jit(step, static_argnums=(0, 1, 2), donate_argnums=4)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def train(
    task: Task, o: opt.Optimizer, clip: Clip, data: DeviceSplit, carry: Carry, steps: Steps
) -> tuple[Carry, Array]:
    """Return arrays and key after K steps, and the K losses."""
    return lax.scan(partial(step, task, o, clip, data), carry, steps)


def gradients(
    task: Task, arrays: Arrays, key: Array, data: DeviceSplit, now: Steps
) -> tuple[Array, Arrays, Seen, Array]:
    """Return a step's loss, its gradients by name, what the forward left behind, and the next step's key."""
    x, y = data if now["order"] is None else (data.x[now["order"]], data.y[now["order"]])
    x, masks = augment(task.augmentation, x, now["drawn"]) if now["drawn"] else x, dict(now["keep"])
    for layer, shape in task.network.dropouts:
        if layer.name not in masks:  # in free mode
            key, own = jax.random.split(key)
            masks[layer.name] = jax.random.uniform(own, (len(x), *shape), x.dtype) >= layer.rate

    def loss(weights: Arrays) -> tuple[Array, Seen]:
        seen = Seen({}, {})
        return cross_entropy(
            task.loss, walk(task.network.layers, x, arrays | weights, seen, masks), y
        ), seen

    (value, seen), found = jax.value_and_grad(loss, has_aux=True)(
        {p.name: arrays[p.name] for p in task.network.parameters}
    )
    return value, found, seen, key


traced = jax.jit(gradients, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def evaluate(network: Network, arrays: Arrays, x: Array) -> Array:
    return walk(network.layers, x, arrays, Seen({}, {}))


def cross_entropy(loss: SoftmaxCrossEntropy, z: Array, y: Array) -> Array:
    targets, divisors = (jnp.asarray(table, z.dtype) for table in loss.tables(z.shape[-1]))
    return -(targets[y] * jax.nn.log_softmax(z)).sum() / divisors[y].sum()


# --- The layers. Images are (batch, h, w, c). ------------------------------------------------------------------------


def walk(
    layers: tuple[Layer, ...], x: Array, arrays: Arrays, seen: Seen, masks: Arrays | None = None
) -> Array:
    """Go through layers in order; without masks it is evaluation."""
    for layer in layers:
        x = seen.outputs[layer.name] = forward(layer, x, arrays, seen, masks)
    return x


def forward(layer: Layer, x: Array, arrays: Arrays, seen: Seen, masks: Arrays | None) -> Array:
    own = {
        name.removeprefix(f"{layer.name}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{layer.name}/")
    }
    match layer:
        case spec.Flatten():
            return x.reshape(len(x), -1)
        case spec.Dense():
            return x @ own["kernel"] + own.get("bias", 0)
        case spec.Conv2D(stride=s, padding=p, groups=groups):
            layout = ("NHWC", "HWIO", "NHWC")
            y = lax.conv_general_dilated(
                x,
                own["kernel"],
                (s, s),
                [(p, p)] * 2,
                dimension_numbers=layout,
                feature_group_count=groups,
            )
            return y + own.get("bias", 0)
        case spec.MaxPool2D():  # its gradient goes to the first of equals in row-major order
            return windows(layer, x, lax.max, -np.inf)
        case spec.AvgPool2D():
            return windows(layer, x, lax.add, 0) / layer.size**2
        case spec.GlobalAvgPool():
            return x.mean((1, 2))
        case spec.BatchNorm():
            if masks is None:
                return normal(x, own["running_mean"], own["running_variance"], own, layer.epsilon)
            mean, variance = moments_of(x, range(x.ndim - 1))
            count = x.size // x.shape[-1]
            unbiased = variance * (count / max(count - 1, 1)) if layer.unbiased else variance
            for leaf, found in (("running_mean", mean), ("running_variance", unbiased)):
                seen.buffers[f"{layer.name}/{leaf}"] = (1 - layer.momentum) * own[
                    leaf
                ] + layer.momentum * found.reshape(-1)
            return normal(x, mean, variance, own, layer.epsilon)
        case spec.LayerNorm(epsilon=epsilon):
            return normal(x, *moments_of(x, -1), own, epsilon)
        case spec.Residual(branch=branch, projection=projection):
            return walk(branch, x, arrays, seen, masks) + walk(projection, x, arrays, seen, masks)
        case spec.Dropout(name=name, rate=rate):
            return x * masks[name] / (1 - rate) if masks and rate else x
        case spec.ReLU():
            return jax.nn.relu(x)
        case spec.LeakyReLU(slope=slope):  # by hand: jax.nn.leaky_relu has the derivative 1 at 0
            return jnp.where(x > 0, x, slope * x)
        case spec.GELU(form=form):
            return jax.nn.gelu(x, approximate=form == "tanh")
        case spec.SiLU():
            return jax.nn.silu(x)
        case spec.Tanh():
            return jnp.tanh(x)
        case spec.Sigmoid():
            return jax.nn.sigmoid(x)
        case other:
            raise TypeError(f"JAX: no layer for {other}")


def windows(pool: spec.Pool, x: Array, combine: Callable[..., Array], start: float) -> Array:
    """Slide a window over each channel; around the image lies what changes nothing."""
    size, stride, around = (
        pool.size,
        pool.stride,
        ((0, 0), (pool.padding,) * 2, (pool.padding,) * 2, (0, 0)),
    )
    return lax.reduce_window(
        x, np.array(start, x.dtype), combine, (1, size, size, 1), (1, stride, stride, 1), around
    )


def moments_of(x, axes):
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def normal(x: Array, mean: Array, variance: Array, own: Arrays, epsilon: float) -> Array:
    return (x - mean) * lax.rsqrt(variance + epsilon) * own["gamma"] + own["beta"]


# --- The update. Formulas in `triptych.spec.optimizers` and `triptych.spec.losses`. ----------------------------------------------


def updated(
    loss: SoftmaxCrossEntropy,
    clip: Clip,
    o: opt.Optimizer,
    arrays: Arrays,
    found: Arrays,
    rate: Array,
) -> Arrays:
    """Return the arrays after one update."""
    arrays = dict(arrays)
    if o.counts_steps:
        arrays["step"] += 1
    if loss.l2:
        found = {
            name: g + loss.l2 * arrays[name] if name.endswith("/kernel") else g
            for name, g in found.items()
        }
    for name, g in clipped(found, clip).items():
        w = arrays[name]
        if o.weight_decay and not o.decoupled:
            g = g + o.weight_decay * w
        elif o.weight_decay:
            w = w * (1 - rate * o.weight_decay)
        taken, slots = change(
            o, g, {slot: arrays[f"{name}/{slot}"] for slot in o.slots}, rate, arrays.get("step")
        )
        arrays |= {name: w - taken} | {f"{name}/{slot}": array for slot, array in slots.items()}
    return arrays


def clipped(found: Arrays, how: Clip) -> Arrays:
    if how.limit is None:
        return found
    if how.by == "value":
        return jax.tree.map(lambda g: g.clip(-how.limit, how.limit), found)
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in found.values())) + how.epsilon
    return jax.tree.map(lambda g: g * jnp.minimum(how.limit / norm, 1), found)


def change(
    o: Any, g: Array, slots: Arrays, rate: Array, step: Array | None
) -> tuple[Array, Arrays]:
    """Return what is to be taken off a weight, and its slots after the step."""
    match o:
        case opt.SGD():
            return along(o, g, slots, rate, o.nesterov)
        case opt.Adam():
            m, v, of_m, of_v = moments(o, g, slots, step)
            if o.epsilon_first:
                return rate * jnp.sqrt(of_v) / of_m * m / (jnp.sqrt(v) + o.epsilon), {
                    "m": m,
                    "v": v,
                }
            return rate / of_m * m / (jnp.sqrt(v / of_v) + o.epsilon), {"m": m, "v": v}
        case opt.Nadam():
            m, v, _, of_v = moments(o, g, slots, step)
            product, last = jnp.array(o.products), len(o.products) - 1
            now, ahead = ((o.mu(t), product[jnp.minimum(t, last)]) for t in (step, step + 1))
            to_g, to_m = (
                ((1 - now[0]) / (1 - now[1])).astype(g.dtype),
                (ahead[0] / (1 - ahead[1])).astype(g.dtype),
            )
            return rate * (to_m * m + to_g * g) / (jnp.sqrt(v / of_v) + o.epsilon), {"m": m, "v": v}
        case opt.RMSprop():
            v = o.rho * slots["v"] + (1 - o.rho) * g**2
            taken, kept = along(o, g / root(v, o), slots, rate)
            return taken, kept | {"v": v}
        case opt.Adagrad():
            v = slots["v"] + g**2
            return rate * g / root(v, o), {"v": v}
        case opt.Adadelta():
            v = o.rho * slots["v"] + (1 - o.rho) * g**2
            delta = jnp.sqrt(slots["u"] + o.epsilon) / jnp.sqrt(v + o.epsilon) * g
            return rate * delta, {"v": v, "u": o.rho * slots["u"] + (1 - o.rho) * delta**2}
        case other:
            raise TypeError(f"JAX: no update for {other}")


def along(
    o: opt.Momentum, g: Array, slots: Arrays, rate: Array, nesterov: bool = False
) -> tuple[Array, Arrays]:
    """Go against `g`, through the velocity where there is one."""
    if not o.momentum:
        return rate * g, {}
    steps = o.velocity == "steps"
    g = rate * g if steps else g
    velocity = o.momentum * slots["velocity"] + g
    ahead = g + o.momentum * velocity if nesterov else velocity
    return ahead if steps else rate * ahead, {"velocity": velocity}


def moments(
    o: opt.Moments, g: Array, slots: Arrays, step: Array
) -> tuple[Array, Array, Array, Array]:
    """Return both moments, and what corrects their bias: computed in float64, because in float32 it loses four digits."""
    m, v = o.beta1 * slots["m"] + (1 - o.beta1) * g, o.beta2 * slots["v"] + (1 - o.beta2) * g**2
    of_m, of_v = (
        (1 - beta ** step.astype(jnp.float64)).astype(g.dtype) for beta in (o.beta1, o.beta2)
    )
    return m, v, of_m, of_v


def root(v: Array, o: opt.RMSprop | opt.Adagrad) -> Array:
    return jnp.sqrt(v + o.epsilon) if o.epsilon_inside else jnp.sqrt(v) + o.epsilon


# --- Augmentation, image by image. What each does, and the formulas, stands in `triptych.spec.augmentation`. --------------


def augment(how: Augmentation, x: Array, drawn: Arrays) -> Array:
    """Return the batch (B, h, w, c) as the integers drawn for it say."""
    for name in how.active:
        x = jax.vmap(partial(KINDS[name], most=getattr(how, name)))(
            x, drawn[name].astype(jnp.int64)
        )
    return x


def rotate(image: Array, s: Array, most: float) -> Array:
    h, w, _ = image.shape
    angle, i, j = s * (pi / 1800), jnp.arange(h)[:, None] - (h - 1) / 2, jnp.arange(w) - (w - 1) / 2
    at = [
        (h - 1) / 2 + jnp.cos(angle) * i + jnp.sin(angle) * j,
        (w - 1) / 2 - jnp.sin(angle) * i + jnp.cos(angle) * j,
    ]
    return jax.vmap(partial(map_coordinates, coordinates=at, order=1), -1, -1)(image)


def crop(image: Array, s: Array, most: int, mode: str = "reflect") -> Array:
    return lax.dynamic_slice(
        jnp.pad(image, ((most, most), (most, most), (0, 0)), mode), (s[0], s[1], 0), image.shape
    )


def shift(image: Array, s: Array, most: int) -> Array:
    return crop(image, most - s, most, "constant")


def flip(image: Array, s: Array, most: bool) -> Array:
    return jnp.where(s, image[:, ::-1], image)


def cutout(image: Array, s: Array, most: int) -> Array:
    first = s - most // 2
    rows, columns = (
        (jnp.arange(n) >= at) & (jnp.arange(n) < at + most)
        for n, at in zip(image.shape, first, strict=False)
    )
    return jnp.where((rows[:, None] & columns)[..., None], 0, image)


KINDS: dict[str, Callable[..., Array]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
