"""The layers that normalize."""

import numpy as np

from ...core.gradients import AllReduce, sum_over_workers
from .layer import Array, Layer, sum_over_batch


class BatchNorm(Layer):
    """Normalization over the batch, channel by channel: x̂ = (x - mean)/√(variance + epsilon).

    In training, mean and variance are those of the batch's N values of a channel; in evaluation
    they are the running ones. With several workers, N, mean and variance are those of the whole
    batch.

    Attributes
    ----------
    all_reduce : callable or None
        Adds arrays over the workers that share a batch.
    """

    all_reduce: AllReduce | None = None

    def forward(self, x: Array) -> Array:
        """Return y = gamma·x̂ + beta."""
        if self.training:
            mean, variance = self.measure(x)
        else:
            mean = self.buffers["running_mean"]
            variance = self.buffers["running_variance"]
        self.inverse_deviation = 1 / np.sqrt(variance + self.spec.epsilon)
        self.normal = (x - mean) * self.inverse_deviation
        return self.parameters["gamma"] * self.normal + self.parameters["beta"]

    def measure(self, x: Array) -> tuple[Array, Array]:
        """Return mean and variance of every channel, and keep them for the running ones."""
        total = sum_over_batch(x)
        count = np.full(1, x.size // x.shape[-1], x.dtype)
        total, count = sum_over_workers(self.all_reduce, total, count)
        self.count = float(count[0])
        self.mean = total / self.count
        squares = sum_over_batch((x - self.mean) ** 2)
        (squares,) = sum_over_workers(self.all_reduce, squares)
        self.variance = squares / self.count
        return self.mean, self.variance

    def parameter_gradients(self, dy: Array) -> None:
        """Set ∂L/∂gamma = Σ dy·x̂ and ∂L/∂beta = Σ dy, over the samples of this worker."""
        self.gradients["gamma"] = sum_over_batch(dy * self.normal)
        self.gradients["beta"] = sum_over_batch(dy)

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = gamma/√(variance + epsilon)·(dy - (Σ dy)/N - x̂·(Σ dy·x̂)/N).

        Mean and variance depend on x, too (Ioffe & Szegedy 2015, section 3). The sums are the
        gradients of beta and gamma.
        """
        dbeta = self.gradients["beta"]
        dgamma = self.gradients["gamma"]
        dbeta, dgamma = sum_over_workers(self.all_reduce, dbeta, dgamma)
        dnormal = dy - dbeta / self.count - self.normal * (dgamma / self.count)
        return self.parameters["gamma"] * self.inverse_deviation * dnormal

    def update_buffers(self) -> None:
        """Set running ← (1 - momentum)·running + momentum·batch."""
        # Of one value the unbiased variance would be 0/0: it is taken as 0, like the biased one.
        variance = self.variance
        if self.spec.unbiased:
            variance = variance * (self.count / max(self.count - 1, 1))
        self.update_running("running_mean", self.mean)
        self.update_running("running_variance", variance)

    def update_running(self, leaf: str, value: Array) -> None:
        """Move a running statistic towards that of the batch."""
        momentum = self.spec.momentum
        running = self.buffers[leaf]
        running *= 1 - momentum
        running += momentum * value


class LayerNorm(Layer):
    """Normalization over the last axis of each sample: x̂ = (x - mean)/√(variance + epsilon)."""

    def forward(self, x: Array) -> Array:
        """Return y = gamma·x̂ + beta."""
        centered = x - x.mean(axis=-1, keepdims=True)
        variance = (centered**2).mean(axis=-1, keepdims=True)
        self.inverse_deviation = 1 / np.sqrt(variance + self.spec.epsilon)
        self.normal = centered * self.inverse_deviation
        return self.parameters["gamma"] * self.normal + self.parameters["beta"]

    def parameter_gradients(self, dy: Array) -> None:
        """Set ∂L/∂gamma = Σ dy·x̂ and ∂L/∂beta = Σ dy, over all axes but the last."""
        self.gradients["gamma"] = sum_over_batch(dy * self.normal)
        self.gradients["beta"] = sum_over_batch(dy)

    def input_gradient(self, dy: Array) -> Array:
        """Return dx as that of `BatchNorm`, with d = gamma·dy and means over the last axis."""
        d = self.parameters["gamma"] * dy
        mean_d = d.mean(axis=-1, keepdims=True)
        mean_d_normal = (d * self.normal).mean(axis=-1, keepdims=True)
        return self.inverse_deviation * (d - mean_d - self.normal * mean_d_normal)
