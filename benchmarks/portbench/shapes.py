"""The shapes of what flows through a model, channels last, without the batch."""

import math

from .design import Node, Shape

SAME_SHAPE = {
    "relu", "tanh", "sigmoid", "elu", "gelu", "silu", "softplus", "leaky_relu", "hard_sigmoid",
    "bn", "ln", "gn", "rms", "dropout", "residual", "attention", "rescale", "softmax",
    "log_softmax", "squeeze", "detach",
}  # fmt: skip


def infer(nodes: list[Node], shape: Shape) -> Shape:
    """Fill in the shapes of nodes, and return the shape of the last one's output.

    Parameters
    ----------
    nodes : list of Node
        In order of computation; their ``shape`` and ``out`` are set.
    shape : tuple of int
        Shape of the input.

    Raises
    ------
    ValueError
        If a node does not fit to what comes before it.
    """
    for node in nodes:
        node.shape = shape
        shape = _out(node, shape)
        node.out = shape
    return shape


def _out(node: Node, shape: Shape) -> Shape:
    if node.kind in ("block", "residual"):
        inner = infer(node.body, shape)
        if node.kind == "residual" and inner != shape:
            raise ValueError(f"{node.id}: {inner} cannot be added to {shape}")
        return inner
    if node.kind in SAME_SHAPE:
        return shape
    return RULES[node.kind](node, shape)


def _dense(node: Node, shape: Shape) -> Shape:
    return (*shape[:-1], int(node["units"]))


def _conv(node: Node, shape: Shape) -> Shape:
    return (*(_window(size, node) for size in shape[:-1]), int(node["units"]))


def _depthwise(node: Node, shape: Shape) -> Shape:
    return (*(_window(size, node) for size in shape[:-1]), shape[-1] * int(node["multiplier"]))


def _conv_transpose(node: Node, shape: Shape) -> Shape:
    return (*(size * int(node["stride"]) for size in shape[:-1]), int(node["units"]))


def _pool(node: Node, shape: Shape) -> Shape:
    return (*(_window(size, node) for size in shape[:-1]), shape[-1])


def _window(size: int, node: Node) -> int:
    """Return how many places a window has along an axis."""
    stride = int(node.get("stride", 1))
    if node["padding"] != "valid":  # all other forms of padding give this size
        return math.ceil(size / stride)
    places = (size - int(node["size"])) // stride + 1
    if places < 1:
        raise ValueError(f"{node.id}: the window is larger than {size}")
    return places


def _pad(node: Node, shape: Shape) -> Shape:
    more = int(node["before"]) + int(node["after"])
    return (*(size + more for size in shape[:-1]), shape[-1])


def _flatten(node: Node, shape: Shape) -> Shape:
    return (math.prod(shape),)


def _mean(node: Node, shape: Shape) -> Shape:
    return shape[-1:]


def _recurrent(node: Node, shape: Shape) -> Shape:
    units = int(node["units"])
    if node["sequences"]:
        return (shape[0], units)
    return (units,)


def _embedding(node: Node, shape: Shape) -> Shape:
    return (*shape, int(node["units"]))


def _upsample(node: Node, shape: Shape) -> Shape:
    return (*(size * int(node["factor"]) for size in shape[:-1]), shape[-1])


def _resize(node: Node, shape: Shape) -> Shape:
    return (int(node["to"]), int(node["to"]), shape[-1])


def _crop(node: Node, shape: Shape) -> Shape:
    return shape  # of a transposed convolution, whose output is counted without what is cut off


RULES = {
    "dense": _dense,
    "conv2d": _conv,
    "conv1d": _conv,
    "depthwise": _depthwise,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool,
    "avg_pool": _pool,
    "pad": _pad,
    "flatten": _flatten,
    "mean": _mean,
    "lstm": _recurrent,
    "gru": _recurrent,
    "embedding": _embedding,
    "upsample": _upsample,
    "resize": _resize,
    "crop": _crop,
}
