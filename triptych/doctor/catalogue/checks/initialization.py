"""Measurements of first weights."""

from typing import Any

import numpy as np

from .support import Values, check, largest, to_numpy


def _built(layer: Any, *shape: int | None) -> Any:
    layer.build(shape)
    return layer


@check("D01")
def dense_kernel() -> Values:
    """Measure bound and standard deviation of the kernel of 784→10."""
    import keras
    import torch

    torch_kernel = torch.nn.Linear(784, 10).weight
    keras_kernel = _built(keras.layers.Dense(10), None, 784).kernel
    return {
        "torch bound": largest(torch_kernel),
        "keras bound": largest(keras_kernel),
        "torch std": to_numpy(torch_kernel).std(),
        "keras std": to_numpy(keras_kernel).std(),
    }


@check("D02")
def dense_bias() -> Values:
    """Measure bound of the bias of a layer with 100 inputs and 1,000 units."""
    import keras
    import torch

    return {
        "torch bound": largest(torch.nn.Linear(100, 1000).bias),
        "keras bound": largest(_built(keras.layers.Dense(1000), None, 100).bias),
    }


@check("D03")
def convolution_kernel() -> Values:
    """Measure bound of the kernel of 1→32 channels and 3×3."""
    import keras
    import torch

    return {
        "torch bound": largest(torch.nn.Conv2d(1, 32, 3).weight),
        "keras bound": largest(_built(keras.layers.Conv2D(32, 3), None, 28, 28, 1).kernel),
    }


@check("D04")
def embedding() -> Values:
    """Measure standard deviation of 1,000 vectors of 64."""
    import keras
    import torch

    return {
        "torch std": to_numpy(torch.nn.Embedding(1000, 64).weight).std(),
        "keras std": to_numpy(_built(keras.layers.Embedding(1000, 64), None).embeddings).std(),
    }


@check("D05")
def normal_initializers() -> Values:
    """Measure the largest of 100,000 draws, and their deviation, in standard deviations."""
    import keras
    import torch

    torch_kernel = to_numpy(torch.nn.init.kaiming_normal_(torch.empty(1000, 100)))
    keras_kernel = to_numpy(keras.initializers.HeNormal()((100, 1000)))
    wanted = (2 / 100) ** 0.5
    return {
        "torch largest": largest(torch_kernel) / wanted,
        "keras largest": largest(keras_kernel) / wanted,
        "torch std": torch_kernel.std() / wanted,
        "keras std": keras_kernel.std() / wanted,
    }


@check("D06")
def truncated_normal() -> Values:
    """Measure standard deviation and largest of 100,000 draws with a standard deviation of 0.05."""
    import keras
    import torch

    torch_kernel = to_numpy(torch.nn.init.trunc_normal_(torch.empty(100_000), std=0.05))
    keras_kernel = to_numpy(keras.initializers.TruncatedNormal(stddev=0.05)((100_000,)))
    return {
        "torch std": torch_kernel.std(),
        "keras std": keras_kernel.std(),
        "torch largest": largest(torch_kernel),
        "keras largest": largest(keras_kernel),
    }


@check("D07")
def attention() -> Values:
    """Measure bounds of the projections of 64 features and 4 heads."""
    import keras
    import torch

    torch_layer = torch.nn.MultiheadAttention(64, 4)
    keras_layer = keras.layers.MultiHeadAttention(4, 16)
    keras_layer.build((None, 5, 64), (None, 5, 64))
    return {
        "torch input": largest(torch_layer.in_proj_weight),
        "keras input": largest(keras_layer.query_dense.kernel),
        "torch output": largest(torch_layer.out_proj.weight),
        "keras output": largest(keras_layer.output_dense.kernel),
    }


@check("D08")
def recurrent() -> Values:
    """Measure bounds of an LSTM of 8→16, its forget bias, and U·Uᵀ of the recurrent kernel."""
    import keras
    import torch

    torch_layer = torch.nn.LSTM(8, 16)
    cell = _built(keras.layers.LSTM(16), None, 5, 8).cell
    return {
        "torch input kernel": largest(torch_layer.weight_ih_l0),
        "keras input kernel": largest(cell.kernel),
        "torch diagonal of U·Uᵀ": _diagonal(to_numpy(torch_layer.weight_hh_l0).T),
        "keras diagonal of U·Uᵀ": _diagonal(to_numpy(cell.recurrent_kernel)),
        "torch forget bias": largest(torch_layer.bias_hh_l0[16:32]),
        "keras forget bias": largest(to_numpy(cell.bias)[16:32]),
    }


def _diagonal(kernel: Any) -> float:
    """Return the mean of the diagonal of U·Uᵀ; 1 for a kernel with orthonormal rows."""
    return float(np.diag(kernel @ kernel.T).mean())


@check("D09")
def seeds() -> Values:
    """Measure the first uniform number of the seed 0."""
    import keras

    backend = keras.backend.backend()
    values: Values = {f"keras on {backend}": keras.random.uniform((), seed=0)}
    if backend == "tensorflow":
        import torch

        torch.manual_seed(0)
        values["torch"] = torch.rand(())
        values["numpy RandomState"] = np.random.RandomState(0).uniform()
        values["numpy default_rng"] = np.random.default_rng(0).uniform()
    return values
