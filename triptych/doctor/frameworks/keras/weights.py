"""Keras' weights in the canonical layout; see `triptych.doctor.observation`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers

from ....errors import one_line
from ...observation import Array, Arrays
from ..adapter import ModelError


@dataclass(frozen=True)
class Weight:
    """A variable, and the canonical arrays that it consists of.

    Attributes
    ----------
    path : str
        The path of its layer.
    variable : keras.Variable
        The variable.
    roles : tuple of str
        The roles of its arrays; Keras' GRU has two biases in one variable.
    to_canonical : callable
        Takes an array of the variable's shape and returns the canonical arrays, one for each role.
    to_keras : callable
        The inverse: takes the canonical arrays.
    """

    path: str
    variable: Any
    roles: tuple[str, ...]
    to_canonical: Callable[[Array], list[Array]] = lambda array: [array]
    to_keras: Callable[[list[Array]], Array] = lambda arrays: arrays[0]

    @property
    def names(self) -> tuple[str, ...]:
        """``PATH/ROLE`` of each array."""
        return tuple(f"{self.path}/{role}" for role in self.roles)

    def split(self, array: Array) -> Arrays:
        """Return the canonical arrays of a value or gradient of the variable, by name."""
        return dict(zip(self.names, self.to_canonical(array), strict=True))

    def join(self, arrays: Arrays) -> Array:
        """Return the variable's array from canonical arrays by name.

        Raises
        ------
        ModelError
            If an array is missing or a shape does not fit.
        """
        shape = tuple(self.variable.shape)
        expected = [part.shape for part in self.to_canonical(np.empty(shape, np.bool_))]
        missing = [name for name in self.names if name not in arrays]
        if missing:
            raise ModelError(one_line(f"there is no array of {missing[0]}"))
        parts = [np.asarray(arrays[name]) for name in self.names]
        for name, part, wanted in zip(self.names, parts, expected, strict=True):
            if part.shape != wanted:
                raise ModelError(
                    one_line(f"{name} has the shape {list(wanted)}, not {list(part.shape)}")
                )
        return self.to_keras(parts)


def weights_of(layer: Any, kind: str, path: str, *, direct: bool = False) -> list[Weight]:
    """Return the weights of a layer.

    Parameters
    ----------
    layer : keras.layers.Layer
        The layer, built.
    kind : str
        Its canonical kind.
    path : str
        Its path.
    direct : bool
        Whether only the variables of the layer itself are meant, not those of its layers.
    """
    if direct:
        return list(_by_name(path, layer._trainable_variables + layer._non_trainable_variables))
    if kind == "rescaling":
        return []  # Normalization: what it has learnt of the data are its settings
    if kind in _WEIGHTS:
        found = list(_WEIGHTS[kind](layer, path))
        covered = {id(weight.variable) for weight in found}
        others = [variable for variable in layer.weights if id(variable) not in covered]
        own = [variable for variable in others if not _of_activation(layer, variable)]
        return found + list(_by_name(path, own))
    return list(_by_name(path, layer.weights))


def separable_weights(
    layer: Any, depthwise: str, pointwise: str
) -> tuple[tuple[Weight, ...], tuple[Weight, ...]]:
    """Return the weights of both halves of a separable convolution, by the paths of these."""
    first = _plain(depthwise, {"kernel": layer.depthwise_kernel})
    second = _plain(pointwise, {"kernel": layer.pointwise_kernel, "bias": layer.bias})
    return tuple(first), tuple(second)


def _of_activation(layer: Any, variable: Any) -> bool:
    """Return whether a variable belongs to an activation layer inside a layer."""
    activation = getattr(layer, "activation", None)
    if not isinstance(activation, layers.Layer):
        return False
    return any(variable is each for each in activation.weights)


def _by_name(path: str, variables: list[Any]) -> Iterator[Weight]:
    names: dict[str, int] = {}
    for variable in variables:
        name = variable.name
        names[name] = names.get(name, 0) + 1
        role = name if names[name] == 1 else f"{name}_{names[name] - 1}"
        yield Weight(path, variable, (role,))


def _plain(path: str, roles: dict[str, Any]) -> Iterator[Weight]:
    """Return weights that have the canonical shape; None where the layer has none."""
    for role, variable in roles.items():
        if variable is not None:
            yield Weight(path, variable, (role,))


def _variable(layer: Any, *names: str) -> Any:
    """Return the variable itself, where a property may compute something from it."""
    for name in names:
        variable = getattr(layer, name, None)
        if variable is not None:
            return variable
    return None


def _dense(layer: Any, path: str) -> Iterator[Weight]:
    kernel = _variable(layer, "_kernel", "kernel")
    yield from _plain(path, {"kernel": kernel, "bias": layer.bias})


def _depthwise(layer: Any, path: str) -> Iterator[Weight]:
    yield from _plain(path, {"kernel": layer.kernel, "bias": layer.bias})


def _conv_transpose(layer: Any, path: str) -> Iterator[Weight]:
    def swap(array: Array) -> Array:
        return np.swapaxes(array, -1, -2)

    yield Weight(
        path,
        layer.kernel,
        ("kernel",),
        to_canonical=lambda array: [swap(array)],
        to_keras=lambda arrays: swap(arrays[0]),
    )
    yield from _plain(path, {"bias": layer.bias})


def _embedding(layer: Any, path: str) -> Iterator[Weight]:
    yield from _plain(path, {"embeddings": _variable(layer, "_embeddings", "embeddings")})


def _batch_norm(layer: Any, path: str) -> Iterator[Weight]:
    roles = {
        "scale": layer.gamma,
        "offset": layer.beta,
        "mean": layer.moving_mean,
        "variance": layer.moving_variance,
    }
    yield from _plain(path, roles)


def _norm(layer: Any, path: str) -> Iterator[Weight]:
    yield from _plain(path, {"scale": layer.gamma, "offset": layer.beta})


def _rms_norm(layer: Any, path: str) -> Iterator[Weight]:
    yield from _plain(path, {"scale": layer.scale})


def _recurrent(layer: Any, path: str) -> Iterator[Weight]:
    if isinstance(layer, layers.Bidirectional):
        yield from _cell(layer.forward_layer.cell, path, "")
        yield from _cell(layer.backward_layer.cell, path, "reverse_")
    else:
        yield from _cell(layer.cell, path, "")


def _cell(cell: Any, path: str, prefix: str) -> Iterator[Weight]:
    kernels = {
        f"{prefix}kernel": cell.kernel,
        f"{prefix}recurrent_kernel": cell.recurrent_kernel,
    }
    yield from _plain(path, kernels)
    bias = cell.bias
    if bias is not None and len(bias.shape) == 2:
        # The GRU with reset_after has a bias of the input and one of the state.
        roles = (f"{prefix}bias", f"{prefix}recurrent_bias")
        yield Weight(path, bias, roles, to_canonical=list, to_keras=np.stack)
    else:
        yield from _plain(path, {f"{prefix}bias": bias})


def _attention(layer: Any, path: str) -> Iterator[Weight]:
    for name in ("query", "key", "value", "output"):
        dense = getattr(layer, f"{name}_dense")
        yield from projection_weights(dense, path, f"{name}_", output=name == "output")


def projection_weights(dense: Any, path: str, prefix: str, *, output: bool) -> Iterator[Weight]:
    """Return the weights of a dense layer inside an attention layer.

    Parameters
    ----------
    dense : keras.layers.EinsumDense
        The layer, whose features are divided among the heads.
    path, prefix : str
        Its path, and what is put before its roles.
    output : bool
        Whether the heads are those of its input, and not of its output.
    """

    def joined(shape: Any) -> Any:
        return (-1, shape[-1]) if output else (shape[0], -1)

    yield _reshaped(path, f"{prefix}kernel", dense.kernel, joined)
    if dense.bias is not None:
        yield _reshaped(path, f"{prefix}bias", dense.bias, lambda shape: (-1,))


def _reshaped(path: str, role: str, variable: Any, shape: Callable[[Any], Any]) -> Weight:
    """Return a weight whose canonical form has the same numbers in another shape."""
    original = tuple(variable.shape)
    return Weight(
        path,
        variable,
        (role,),
        to_canonical=lambda array: [array.reshape(shape(original))],
        to_keras=lambda arrays: arrays[0].reshape(original),
    )


def _prelu(layer: Any, path: str) -> Iterator[Weight]:
    axes = tuple(layer.alpha.shape)[:-1]
    if all(size == 1 for size in axes):
        yield _reshaped(path, "slope", layer.alpha, lambda shape: (shape[-1],))
    else:
        yield from _plain(path, {"slope": layer.alpha})


_WEIGHTS: dict[str, Callable[[Any, str], Iterator[Weight]]] = {
    "dense": _dense,
    "conv": _dense,
    "depthwise_conv": _depthwise,
    "conv_transpose": _conv_transpose,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "layer_norm": _norm,
    "group_norm": _norm,
    "rms_norm": _rms_norm,
    "rnn": _recurrent,
    "lstm": _recurrent,
    "gru": _recurrent,
    "attention": _attention,
    "prelu": _prelu,
}
