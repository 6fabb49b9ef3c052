"""The shared batch of a pair, and the weights that both sides load."""

from __future__ import annotations

import io
import math
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from .design import Node, Pair
from .layout import GATES, NORMS

Arrays = dict[str, NDArray[np.generic]]


def generator(seed: str) -> np.random.Generator:
    """Return NumPy's generator for a text."""
    return np.random.default_rng(list(sha256(seed.encode()).digest()))


def batch(pair: Pair, seed: str) -> Arrays:
    """Return the arrays of ``batch.npz``: ``x``, ``y``, and ``val_loss`` where a rule needs it."""
    random = generator(f"{seed}/batch")
    arrays: Arrays = {"x": _inputs(pair, random), "y": _targets(pair, random)}
    series = pair.data.get("val_loss")
    if series is not None:
        arrays["val_loss"] = np.array(series, "float32")
    return arrays


def _inputs(pair: Pair, random: np.random.Generator) -> NDArray[np.generic]:
    shape = (pair.data["examples"], *pair.input_shape)
    if pair.data.kind == "images":
        # Bright and dark patches, so that pixels next to each other are alike.
        coarse = random.integers(0, 256, (shape[0], 4, 4, shape[3]))
        fine = np.kron(coarse, np.ones((1, math.ceil(shape[1] / 4), math.ceil(shape[2] / 4), 1)))
        noisy = fine[:, : shape[1], : shape[2]] + random.normal(0, 20, shape)
        return noisy.clip(0, 255).astype("uint8")
    if pair.data.kind == "tokens":
        return _tokens(pair, random, shape)
    x = random.normal(size=shape)
    if pair.data.kind == "features":
        x = x * random.uniform(0.5, 2.0, shape[1:]) + random.normal(0, 0.5, shape[1:])
    x *= pair.data.get("size", 1.0)
    if pair.data.get("zero rows"):
        x[:: pair.data["zero rows"]] = 0.0
    return x.astype("float32")


def _tokens(pair: Pair, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return words; with ``padded``, the ends of the sequences are zeros, and nothing else is."""
    if not pair.data.get("padded"):
        return random.integers(0, pair.data["words"], shape)
    words = random.integers(1, pair.data["words"], shape)
    lengths = random.integers(2, shape[1] + 1, shape[0])
    return np.where(np.arange(shape[1]) < lengths[:, None], words, 0)


def _targets(pair: Pair, random: np.random.Generator) -> NDArray[np.generic]:
    count = pair.data["examples"]
    outputs = pair.data["outputs"]
    kind = pair.data.get("targets")
    if kind == "distribution":
        shares = random.exponential(size=(count, outputs)) + 0.05
        return (shares / shares.sum(axis=1, keepdims=True)).astype("float32")
    if kind == "counts":
        return random.poisson(2.0, (count, outputs)).astype("float32")
    if pair.task == "classes":
        return random.integers(0, pair.data["outputs"], count)
    if pair.task == "binary":
        y = random.integers(0, 2, (count, 1)).astype("float32")
    else:
        y = random.normal(size=(count, outputs)).astype("float32")
    if pair.data.get("zero targets"):
        y[:: pair.data["zero rows"]] = 0.0
    return y[:, 0] if pair.data.get("flat targets") else y


def weights(shapes: dict[str, tuple[int, ...]], seed: str) -> Arrays:
    """Return random weights for PyTorch's parameters, by name.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        The shape of each parameter or buffer, in PyTorch's layout.
    seed : str
        Any text.
    """
    random = generator(f"{seed}/weights")
    arrays: Arrays = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            arrays[name] = np.array(1)
            continue
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 4
        values = random.normal(size=shape) / math.sqrt(fan_in)
        if name.endswith("running_var"):
            values = 0.5 + np.abs(values)
        arrays[name] = values.astype("float32")
    return arrays


def parameter_shapes(node: Node, path: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's parameters and buffers in PyTorch, by name."""
    channels = node.shape[-1]
    if node.kind in GATES:
        return _recurrent_shapes(node, path)
    if node.kind == "embedding":
        return {f"{path}.weight": (node["words"], node["units"])}
    if node.kind in NORMS:
        return _norm_shapes(node, path)
    kernel = {
        "dense": lambda: (node["units"], channels),
        "conv2d": lambda: (node["units"], channels, node["size"], node["size"]),
        "conv1d": lambda: (node["units"], channels, node["size"]),
        "depthwise": lambda: (channels, 1, node["size"], node["size"]),
        "conv_transpose": lambda: (channels, node["units"], node["size"], node["size"]),
    }[node.kind]()
    shapes: dict[str, tuple[int, ...]] = {f"{path}.weight": kernel}
    if node["bias"]:
        shapes[f"{path}.bias"] = (node.out[-1],)
    return shapes


def _norm_shapes(node: Node, path: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in NORMS[node.kind]:
        shapes[f"{path}.{name}"] = node.shape[-1:]
    if node.kind == "bn":
        shapes[f"{path}.num_batches_tracked"] = ()
    return shapes


def _recurrent_shapes(node: Node, path: str) -> dict[str, tuple[int, ...]]:
    gates = GATES[node.kind]
    units = node["units"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{path}.weight_ih_l0": (gates * units, node.shape[-1]),
        f"{path}.weight_hh_l0": (gates * units, units),
    }
    if node["bias"]:
        shapes[f"{path}.bias_ih_l0"] = (gates * units,)
        shapes[f"{path}.bias_hh_l0"] = (gates * units,)
    return shapes


def pack(arrays: Arrays) -> bytes:
    """Return arrays as the content of an ``.npz`` file, which depends on nothing else."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
