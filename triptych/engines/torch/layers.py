"""The layers as `nn.Module`. Images are (batch, channels, rows, columns).

A builder of a layer is a function ``builder(place) -> nn.Module``, where `place` is a
`PlacedLayer`. The module's parameters and persistent buffers, in the order in which the module
registers them, are the ones that ``place.parameters`` and ``place.buffers`` list. The engine
fills them in, so their first values do not matter. A module updates its buffers itself, in the
forward pass in training mode.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.builders import BuilderTable
from ...core.gradients import AllReduce, sum_over_workers
from ...spec import layers as spec
from ...spec.placement import Layer, PlacedLayer

LayerBuilder = Callable[[PlacedLayer], nn.Module]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("PyTorch", "layer")


def register_layer(spec_class: type[Layer], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; see the top of this file."""
    LAYERS.register(spec_class, builder)


def build_layer(place: PlacedLayer) -> nn.Module:
    """Return the module of a placed layer; raise `EngineError` if there is no builder for it."""
    builder = LAYERS.find(place.layer)
    return builder(place)


class Sequential(nn.Module):
    """Layers one after the other, as `nn.Sequential`; dropout layers are given their masks."""

    def __init__(self, places: Iterable[PlacedLayer]) -> None:
        super().__init__()
        places = list(places)
        # Two lists and not a ModuleDict, which refuses keys that are names of its methods.
        self.names = [place.layer.name for place in places]
        self.layers = nn.ModuleList(build_layer(place) for place in places)
        self.fast_order = spec.relu_after_pool_order([place.layer for place in places])

    def forward(
        self, x: Tensor, masks: dict[str, Tensor], outputs: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Return the output of the last layer.

        Parameters
        ----------
        x : Tensor, shape (batch, …)
        masks : dict of str to Tensor
            What each dropout layer keeps in training, by its name.
        outputs : dict of str to Tensor, optional
            Receives the output of every layer. The layers then run in the order in which the
            network lists them; otherwise a maximum runs before its ReLU, which is faster.
        """
        layers = list(self.layers)  # its items are found faster than those of a ModuleList
        order = self.fast_order if outputs is None else range(len(layers))
        for i in order:
            name = self.names[i]
            layer = layers[i]
            if isinstance(layer, Residual):
                x = layer(x, masks, outputs)
            elif isinstance(layer, Dropout):
                x = layer(x, masks.get(name))
            else:
                x = layer(x)
            if outputs is not None:
                outputs[name] = x
        return x

    def layers_by_name(self) -> dict[str, nn.Module]:
        """Return every layer by its name, those inside residuals included."""
        layers: dict[str, nn.Module] = {}
        for name, layer in zip(self.names, self.layers, strict=True):
            if isinstance(layer, Residual):
                layers |= layer.branch.layers_by_name()
                layers |= layer.projection.layers_by_name()
            layers[name] = layer
        return layers


class NativeModel(nn.Module):
    """A trained network as a user of PyTorch expects it: images in, logits out.

    Images are (batch, rows, columns, channels), 0 to 1, as in every export.

    Parameters
    ----------
    layers : Sequential
        The network's layers.
    has_images : bool
        Whether the inputs are images and not vectors.
    """

    def __init__(self, layers: Sequential, has_images: bool) -> None:
        super().__init__()
        self.network = layers
        self.has_images = has_images

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        x = images.permute(0, 3, 1, 2) if self.has_images else images
        return self.network(x, {})

    def layer_paths(self) -> dict[str, str]:
        """Return the name of each layer by the path of its module, for example ``network.0``."""
        names = {layer: name for name, layer in self.network.layers_by_name().items()}
        modules = self.named_modules()
        return {path: names[module] for path, module in modules if module in names}


class Residual(nn.Module):
    """The sum of two branches; an empty projection returns its input."""

    def __init__(self, place: PlacedLayer) -> None:
        super().__init__()
        self.branch = Sequential(place.branch)
        self.projection = Sequential(place.projection)

    def forward(
        self, x: Tensor, masks: dict[str, Tensor], outputs: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Return the sum; the arguments are those of `Sequential.forward`."""
        return self.branch(x, masks, outputs) + self.projection(x, masks, outputs)


class Dropout(nn.Module):
    """`nn.Dropout` with a mask as an argument; without one, as in evaluation, it does nothing."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what is kept, scaled."""
        if mask is None:
            return x
        scaled_mask = mask.to(x.dtype) / (1 - self.rate)
        return x * scaled_mask  # one product forward and one backward


class BatchNorm(nn.Module):
    """`nn.BatchNorm2d` whose running variance is biased if the specification wants it so.

    PyTorch's class always stores the unbiased variance (D20), and refuses a batch with one value
    per channel (D21). With `all_reduce` the statistics are those of all workers together, as in
    `nn.SyncBatchNorm`, which has no kernel for a CPU.
    """

    def __init__(self, channels: int, layer: spec.BatchNorm) -> None:
        super().__init__()
        self.layer = layer
        self.all_reduce: AllReduce | None = None  # adds arrays over the workers that share a batch
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))
        # With momentum 1 the kernel writes the batch's mean and unbiased variance into these.
        self.register_buffer("batch_mean", torch.zeros(channels), persistent=False)
        self.register_buffer("batch_variance", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize with the batch's statistics in training, with the running ones otherwise."""
        if not self.training:
            return self.normalize(x, self.running_mean, self.running_variance)
        if self.all_reduce is not None:
            return self.normalize_over_workers(x, self.all_reduce)
        values_per_channel = x.numel() // x.shape[1]
        normalize_batch = self.normalize_batch
        if values_per_channel == 1:
            normalize_batch = self.normalize_single_values
        y = normalize_batch(x)
        self.update_running_statistics(values_per_channel)
        return y

    def normalize_batch(self, x: Tensor) -> Tensor:
        """Return the output for several values per channel."""
        return self.normalize(x, self.batch_mean, self.batch_variance)

    def normalize(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the input normalized with these statistics."""
        return functional.batch_norm(
            x,
            mean,
            variance,
            self.weight,
            self.bias,
            training=self.training,
            momentum=1.0,
            eps=self.layer.epsilon,
        )

    def normalize_over_workers(self, x: Tensor, all_reduce: AllReduce) -> Tensor:
        """Return the output for a part of a batch, with the statistics of the whole one."""
        with torch.no_grad():
            axes = axes_of_channel(x)
            sizes = x.new_full((1,), x.numel() // x.shape[1])
            total, size = add_over_workers(all_reduce, x.sum(axes), sizes)
            values_per_channel = int(size)
            mean = total / values_per_channel
            squares = (x - by_channel(mean, x)).square().sum(axes)
            variance = add_over_workers(all_reduce, squares)[0] / values_per_channel
            self.batch_mean.copy_(mean)
            unbiased = values_per_channel / max(values_per_channel - 1, 1)
            self.batch_variance.copy_(variance * unbiased)
        self.update_running_statistics(values_per_channel)
        scale = torch.rsqrt(variance + self.layer.epsilon)
        return NormalizationOverWorkers.apply(
            x, self.weight, self.bias, mean, scale, values_per_channel, all_reduce
        )

    def normalize_single_values(self, x: Tensor) -> Tensor:
        """Return the output for one value per channel, whose variance is 0."""
        self.batch_mean.copy_(x.detach().flatten())
        self.batch_variance.zero_()
        return (x - x) * by_channel(self.weight, x) + by_channel(self.bias, x)

    @torch.no_grad()
    def update_running_statistics(self, values_per_channel: int) -> None:
        """Move the running statistics towards the batch's."""
        variance = self.batch_variance
        if not self.layer.unbiased:
            variance = variance * ((values_per_channel - 1) / values_per_channel)
        self.running_mean.lerp_(self.batch_mean, self.layer.momentum)
        self.running_variance.lerp_(variance, self.layer.momentum)


class NormalizationOverWorkers(torch.autograd.Function):
    """weight·(x - mean)·scale + bias, differentiated through mean and scale of all workers.

    The gradients of weight and bias are those of this worker's part of the batch, as the gradients
    of all other parameters.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        scale: Tensor,
        values_per_channel: int,
        all_reduce: AllReduce,
    ) -> Tensor:
        """Return the output; mean and scale have a value for each channel."""
        normal = (x - by_channel(mean, x)) * by_channel(scale, x)
        ctx.save_for_backward(normal, weight, scale)
        ctx.values_per_channel = values_per_channel
        ctx.all_reduce = all_reduce
        return normal * by_channel(weight, x) + by_channel(bias, x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to x, weight and bias."""
        normal, weight, scale = ctx.saved_tensors
        axes = axes_of_channel(dy)
        of_bias = dy.sum(axes)
        of_weight = (dy * normal).sum(axes)
        of_x = None
        if ctx.needs_input_grad[0]:
            sums = add_over_workers(ctx.all_reduce, of_bias, of_weight)
            level, tilt = (by_channel(total / ctx.values_per_channel, dy) for total in sums)
            of_x = by_channel(weight * scale, dy) * (dy - level - normal * tilt)
        return of_x, of_weight, of_bias, None, None, None, None


def add_over_workers(all_reduce: AllReduce, *vectors: Tensor) -> list[Tensor]:
    """Return the sums of some vectors over all workers, by one call."""
    sums = sum_over_workers(all_reduce, *(vector.cpu().numpy() for vector in vectors))
    return [torch.from_numpy(total).to(vectors[0].device) for total in sums]


def axes_of_channel(x: Tensor) -> list[int]:
    """Return the axes over which a channel has its values: all but the second."""
    return [axis for axis in range(x.dim()) if axis != 1]


def by_channel(values: Tensor, like: Tensor) -> Tensor:
    """Return one value for each channel in a shape that fits to images or vectors."""
    return values.view(1, -1, *[1] * (like.dim() - 2))


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the channels, which are the second axis of an image."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        if x.dim() == 2:
            return super().forward(x)
        channels_last = x.movedim(1, -1)
        return super().forward(channels_last).movedim(-1, 1)


def build_flatten(place: PlacedLayer) -> nn.Module:
    """Return the module of flattening."""
    return nn.Flatten()


def build_dense(place: PlacedLayer) -> nn.Module:
    """Return the module of a dense layer."""
    layer = place.layer
    return nn.Linear(place.input_shape[-1], layer.units, layer.bias)


def build_convolution(place: PlacedLayer) -> nn.Module:
    """Return the module of a convolution."""
    layer = place.layer
    return nn.Conv2d(
        place.input_shape[-1],
        layer.filters,
        layer.size,
        layer.stride,
        layer.padding,
        groups=layer.groups,
        bias=layer.bias,
    )


def build_max_pool(place: PlacedLayer) -> nn.Module:
    """Return the module of a maximum over windows."""
    layer = place.layer
    return nn.MaxPool2d(layer.size, layer.stride, layer.padding)


def build_average_pool(place: PlacedLayer) -> nn.Module:
    """Return the module of a mean over windows."""
    layer = place.layer
    # It counts the padding (D72), as the specification does.
    return nn.AvgPool2d(layer.size, layer.stride, layer.padding)


def build_global_average_pool(place: PlacedLayer) -> nn.Module:
    """Return the module of the mean of each channel."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build_batch_norm(place: PlacedLayer) -> nn.Module:
    """Return the module of batch normalization."""
    return BatchNorm(place.input_shape[-1], place.layer)


def build_layer_norm(place: PlacedLayer) -> nn.Module:
    """Return the module of layer normalization."""
    return LayerNorm(place.input_shape[-1], place.layer.epsilon)


def build_dropout(place: PlacedLayer) -> nn.Module:
    """Return the module of dropout."""
    return Dropout(place.layer.rate)


def build_relu(place: PlacedLayer) -> nn.Module:
    """Return the module of ReLU."""
    return nn.ReLU()


def build_leaky_relu(place: PlacedLayer) -> nn.Module:
    """Return the module of leaky ReLU."""
    return nn.LeakyReLU(place.layer.slope)


def build_gelu(place: PlacedLayer) -> nn.Module:
    """Return the module of GELU."""
    approximation = {"erf": "none", "tanh": "tanh"}[place.layer.form]
    return nn.GELU(approximation)


def build_silu(place: PlacedLayer) -> nn.Module:
    """Return the module of SiLU."""
    return nn.SiLU()


def build_tanh(place: PlacedLayer) -> nn.Module:
    """Return the module of tanh."""
    return nn.Tanh()


def build_sigmoid(place: PlacedLayer) -> nn.Module:
    """Return the module of the sigmoid."""
    return nn.Sigmoid()


register_layer(spec.Flatten, build_flatten)
register_layer(spec.Dense, build_dense)
register_layer(spec.Conv2D, build_convolution)
register_layer(spec.MaxPool2D, build_max_pool)
register_layer(spec.AvgPool2D, build_average_pool)
register_layer(spec.GlobalAvgPool, build_global_average_pool)
register_layer(spec.BatchNorm, build_batch_norm)
register_layer(spec.LayerNorm, build_layer_norm)
register_layer(spec.Residual, Residual)
register_layer(spec.Dropout, build_dropout)
register_layer(spec.ReLU, build_relu)
register_layer(spec.LeakyReLU, build_leaky_relu)
register_layer(spec.GELU, build_gelu)
register_layer(spec.SiLU, build_silu)
register_layer(spec.Tanh, build_tanh)
register_layer(spec.Sigmoid, build_sigmoid)
