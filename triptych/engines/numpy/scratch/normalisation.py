"""Normalisation of batches and of layers."""

from collections.abc import Iterable

import numpy as np

from ....core.gradients import AllReduce
from .layers import Layer, Training, parts
from .products import Array


class BatchNorm(Layer):
    """y = gamma·x̂ + beta with x̂ = (x - mean)/√(variance + epsilon), each channel over all the others' axes.

    With N values to a channel and s = 1/√(variance + epsilon), in training
    ∂x = gamma·s·(dy - mean(dy) - x̂·mean(dy·x̂)): mean and variance depend on x, too (Ioffe & Szegedy 2015, section 3).
    With several workers all four means, and N, are those of the whole batch; the gradients of gamma and beta are those of the part.
    """

    learns = True
    mixes = True
    all_reduce: AllReduce | None = None  # adds arrays over the workers that share a batch

    def __init__(self, name: str, momentum: float, epsilon: float, unbiased: bool) -> None:
        super().__init__(name)
        self.momentum, self.epsilon, self.unbiased = momentum, epsilon, unbiased

    def forward(self, x: Array, training: Training | None = None) -> Array:
        seen, self.pixels = rows(x), x.shape[-2] if x.ndim == 4 else 1
        if training is None:
            mean, variance = self.buffers["running_mean"], self.buffers["running_variance"]
        else:
            self.x = seen
            count = np.full(1, x.size // x.shape[-1], x.dtype)
            total, count = self._over_workers(self._sum(pieces(seen), x), count)
            self.count = float(count[0])
            mean = self.mean = total / self.count
            squares = self._sum(((piece - self._wide(mean)) ** 2 for piece in pieces(seen)), x)
            variance = self.variance = self._over_workers(squares)[0] / self.count
        self.s = 1 / np.sqrt(variance + self.epsilon)
        y = self.output(x)
        centre, scale, beta = map(self._wide, (mean, self.parameters["gamma"] * self.s, self.parameters["beta"]))
        for piece, out in zip(pieces(seen), pieces(rows(y)), strict=True):
            np.subtract(piece, centre, out=out)
            out *= scale
            out += beta
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        down, centre = rows(dy), self._wide(self.mean)
        level = self._sum(pieces(down), dy) / self.count
        products = (d * (seen - centre) for d, seen in zip(pieces(down), pieces(self.x), strict=True))
        along = self._sum(products, dy) * self.s / self.count
        np.multiply(along, self.count, out=self.gradient("gamma"))
        np.multiply(level, self.count, out=self.gradient("beta"))
        if not into:
            return dy
        level, along = self._over_workers(level, along)
        dx = self.passing_room("dx", dy)
        tilt, level, scale = map(self._wide, (along * self.s, level, self.parameters["gamma"] * self.s))
        for d, seen, out in zip(pieces(down), pieces(self.x), pieces(rows(dx)), strict=True):
            np.subtract(centre, seen, out=out)
            out *= tilt
            out += d
            out -= level
            out *= scale
        return dx

    def _wide(self, values: Array) -> Array:
        """Return the values of the channels once for every pixel of a row."""
        return np.tile(values, self.pixels)

    def _sum(self, pieces: Iterable[Array], like: Array) -> Array:
        """Return the sum of each channel: within each piece, then over the pieces, so that float32 sums stay short."""
        sums = [np.ones(len(piece), piece.dtype) @ piece for piece in pieces]  # BLAS is faster at it than sum(axis=0)
        if not sums:  # a worker without a sample of a small batch
            return np.zeros(like.shape[-1], like.dtype)
        return np.sum(sums, axis=0).reshape(self.pixels, -1).sum(axis=0)

    def _over_workers(self, *arrays: Array) -> list[Array]:
        """Return the sums of some vectors over all workers: the vectors themselves if there is one."""
        if self.all_reduce is None:
            return list(arrays)
        total = self.all_reduce(np.concatenate(arrays))
        return np.split(total, np.cumsum([array.size for array in arrays])[:-1])

    def advance(self) -> None:
        # Of one value the unbiased variance would be 0/0: it is taken as 0, like the biased one.
        unbiased = self.count / max(self.count - 1, 1) if self.unbiased else 1.0
        for name, seen in (("running_mean", self.mean), ("running_variance", self.variance * unbiased)):
            running = self.buffers[name]
            running *= 1 - self.momentum
            running += self.momentum * seen


class LayerNorm(Layer):
    """As BatchNorm in training, but over the last axis of each sample, and alike in evaluation."""

    learns = True
    remembers = False

    def __init__(self, name: str, epsilon: float) -> None:
        super().__init__(name)
        self.epsilon = epsilon

    def forward(self, x: Array, training: Training | None = None) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        self.s = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.epsilon)
        self.normal = centred * self.s
        return self.normal * self.parameters["gamma"] + self.parameters["beta"]

    def backward(self, dy: Array, into: bool = True) -> Array:
        axes = tuple(range(dy.ndim - 1))
        (dy * self.normal).sum(axis=axes, out=self.gradient("gamma"))
        dy.sum(axis=axes, out=self.gradient("beta"))
        if not into:
            return dy
        d = dy * self.parameters["gamma"]
        return self.s * (d - d.mean(axis=-1, keepdims=True) - self.normal * (d * self.normal).mean(axis=-1, keepdims=True))


def rows(x: Array) -> Array:
    """View images as rows of pixels, (batch·h, w·c), and vectors as they are: along the short last axis NumPy is slow."""
    return x.reshape(-1, x.shape[-2] * x.shape[-1]) if x.ndim == 4 else x


def pieces(x: Array) -> list[Array]:
    """Return views of a few rows each."""
    return [x[part] for part in parts(len(x), 4 * x.shape[1])]
