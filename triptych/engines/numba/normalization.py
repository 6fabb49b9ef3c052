"""Normalisation of batches and of layers."""

import numpy as np
from numba import get_num_threads

from ...core.gradients import AllReduce, sum_over_workers
from ...spec import layers as spec
from .kernels import normalization as kernels
from .layer import Layer, Training


class BatchNorm(Layer):
    """y = gamma·x̂ + beta with x̂ = (x - mean)/√(variance + epsilon), by channel or feature.

    With N values of a channel and s = 1/√(variance + epsilon), in training

        ∂x = gamma·s·(dy - mean(dy) - x̂·mean(dy·x̂))

    because mean and variance depend on x, too (Ioffe & Szegedy 2015, section 3). With several
    workers N and all four means are those of the whole batch; the gradients of gamma and beta are
    those of the worker's part.

    Attributes
    ----------
    all_reduce : callable, optional
        Adds arrays over the workers that share a batch. With it `input_gradient` must follow
        every `forward` in training in all of the workers, or in none.

    Notes
    -----
    `forward` and `input_gradient` return arrays that their next call overwrites.
    """

    all_reduce: AllReduce | None = None

    def __init__(self, norm: spec.BatchNorm) -> None:
        super().__init__(norm.name)
        self.momentum = norm.momentum
        self.epsilon = norm.epsilon
        self.unbiased = norm.unbiased

    def forward(self, x: np.ndarray, training: Training | None) -> np.ndarray:
        """Return the normalised batch; in evaluation by the running statistics."""
        rows = x.reshape(-1, x.shape[-1])
        if training is None:
            mean = self.buffers["running_mean"]
            variance = self.buffers["running_variance"]
        else:
            mean, variance = self._statistics(rows)
        self.rows = rows
        self.s = 1 / np.sqrt(variance + x.dtype.type(self.epsilon))
        scale = self.parameters["gamma"] * self.s
        y = self.reuse("y", x.shape, x.dtype)
        out = y.reshape(rows.shape)
        kernels.scale_channels(rows, mean, scale, self.parameters["beta"], get_num_threads(), out)
        return y

    def parameter_gradients(self, dy: np.ndarray) -> None:
        """Write Σ dy·x̂ for gamma and Σ dy for beta."""
        sums = np.empty((get_num_threads(), 2, dy.shape[-1]))
        kernels.channel_gradient_sums(self.rows, dy.reshape(self.rows.shape), self.mean, sums)
        total, product = sums.sum(axis=0).astype(dy.dtype)
        self.gradients["gamma"][...] = product * self.s
        self.gradients["beta"][...] = total

    def input_gradient(self, dy: np.ndarray) -> np.ndarray:
        """Return ∂x; it needs what `parameter_gradients` wrote."""
        gradients = self.gradients
        total, product = sum_over_workers(self.all_reduce, gradients["beta"], gradients["gamma"])
        level = total / self.count
        tilt = product / self.count * self.s
        scale = self.parameters["gamma"] * self.s
        dx = self.reuse("dx", dy.shape, dy.dtype)
        kernels.channel_input_gradient(
            self.rows,
            dy.reshape(self.rows.shape),
            self.mean,
            level,
            tilt,
            scale,
            get_num_threads(),
            dx.reshape(self.rows.shape),
        )
        return dx

    def update_buffers(self) -> None:
        """Move the running statistics towards those of the batch."""
        # Of one value the unbiased variance would be 0/0: it is taken as 0, like the biased one.
        unbiased = self.count / max(self.count - 1, 1) if self.unbiased else 1.0
        seen = {"running_mean": self.mean, "running_variance": self.variance * unbiased}
        for leaf, value in seen.items():
            running = self.buffers[leaf]
            running *= 1 - self.momentum
            running += self.momentum * value

    def _statistics(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of every channel over the whole batch, and keep them."""
        dtype = rows.dtype
        sums = np.empty((get_num_threads(), rows.shape[1]))
        kernels.channel_sums(rows, sums)
        count = np.full(1, len(rows), dtype)
        total, count = sum_over_workers(self.all_reduce, sums.sum(axis=0).astype(dtype), count)
        self.count = float(count[0])
        self.mean = total / dtype.type(self.count)
        kernels.channel_squares(rows, self.mean, sums)
        (squares,) = sum_over_workers(self.all_reduce, sums.sum(axis=0).astype(dtype))
        self.variance = squares / dtype.type(self.count)
        return self.mean, self.variance


class LayerNorm(Layer):
    """As BatchNorm in training, but over the last axis of each sample, and so in evaluation, too.

    Notes
    -----
    `forward` and `input_gradient` return arrays that their next call overwrites.
    """

    def __init__(self, norm: spec.LayerNorm) -> None:
        super().__init__(norm.name)
        self.epsilon = norm.epsilon

    def forward(self, x: np.ndarray, training: Training | None) -> np.ndarray:
        """Return the normalised rows."""
        rows = x.reshape(-1, x.shape[-1])
        self.normal = self.reuse("normal", rows.shape, x.dtype)
        self.inverse = self.reuse("inverse", rows.shape[:1], x.dtype)
        y = self.reuse("y", x.shape, x.dtype)
        kernels.normalise_rows(
            rows,
            self.epsilon,
            self.parameters["gamma"],
            self.parameters["beta"],
            get_num_threads(),
            self.normal,
            self.inverse,
            y.reshape(rows.shape),
        )
        return y

    def parameter_gradients(self, dy: np.ndarray) -> None:
        """Write Σ dy·normal for gamma and Σ dy for beta."""
        sums = np.empty((get_num_threads(), 2, dy.shape[-1]))
        nothing = np.zeros(dy.shape[-1], dy.dtype)
        rows = dy.reshape(self.normal.shape)
        kernels.channel_gradient_sums(self.normal, rows, nothing, sums)
        total, product = sums.sum(axis=0)
        self.gradients["gamma"][...] = product
        self.gradients["beta"][...] = total

    def input_gradient(self, dy: np.ndarray) -> np.ndarray:
        """Return s·(d - mean(d) - normal·mean(d·normal)) with d = dy·gamma."""
        dx = self.reuse("dx", dy.shape, dy.dtype)
        rows = self.normal.shape
        kernels.row_input_gradient(
            dy.reshape(rows),
            self.parameters["gamma"],
            get_num_threads(),
            self.normal,
            self.inverse,
            dx.reshape(rows),
        )
        return dx
