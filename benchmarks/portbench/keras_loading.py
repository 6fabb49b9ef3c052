"""Lines that load PyTorch's weights into the Keras model."""

from __future__ import annotations

from collections.abc import Callable

from .code import LONGEST_LINE, PARAMETERS, Place, attribute, indent
from .design import Node, Pair, Shape, Side
from .layout import GATES, NORMS
from .style import Style

ArrayText = Callable[[str], str]


def loading(
    pair: Pair, side: Side, style: Style, form: str, places: list[Place]
) -> tuple[list[str], list[str]]:
    """Return the lines before ``build`` and those in it that load ``weights.npz``, or none.

    Parameters
    ----------
    pair : Pair
        The pair.
    side : Side
        The Keras side; its ``loading`` has the names of PyTorch's modules by node, as ``names``.
    style : Style
        The side's style.
    form : str
        How the model is written.
    places : list of Place
        Where the nodes are in the Keras model.
    """
    if side.loading is None:
        return [], []
    name = style.pick("weights name", ("weights", "w"))
    lines = [f'{name} = np.load(Path(__file__).parent / "weights.npz")']
    if form == "subclass":
        dtype = ', dtype="int32"' if pair.data.kind == "tokens" else ', dtype="float32"'
        shape = (1, *side.nodes[0].shape)
        lines.append(f"model(np.zeros({shape}{dtype}))")
    last = [node for node in side.nodes if node.kind == "dense"][-1]
    flat = flattened(side.nodes)
    swap = style.pick("name of the reordering", ("reorder", "swap_gates", "to_keras"))
    mistakes = side.loading.get("mistakes", {})
    for place in places:
        node = place.node
        mistake = mistakes.get(node.id)
        if node.kind not in PARAMETERS or mistake == "not loaded":
            continue
        start = f'{name}["{side.loading["names"][place.key]}'
        arrays = _arrays(node, start, flat.get(id(node)), mistake, swap)
        layer = f'model.get_layer("{place.path}")'
        if form == "subclass":
            layer = f"model.{attribute(node, style, last=node is last)}"
        line = f"{layer}.set_weights([{', '.join(arrays)}])"
        if len(line) <= LONGEST_LINE:
            lines.append(line)
        else:
            items = [f"{array}," for array in arrays]
            lines += [f"{layer}.set_weights([", *indent(items), "])"]
    used = any(f"{swap}(" in line for line in lines)
    return _reordering(places, swap) if used else [], lines


def _reordering(places: list[Place], name: str) -> list[str]:
    """Return the function that changes the order of the gates."""
    if any(place.node.kind == "gru" for place in places):
        names, order = "r, z, n", "z, r, n"
    else:
        names, order = "i, f, g, o", "i, g, f, o"
    count = len(names.split(", "))
    return [
        f"def {name}(array):",
        f"    {names} = np.split(array, {count})",
        f"    return np.concatenate([{order}])",
        "",
        "",
    ]


def flattened(nodes: list[Node]) -> dict[int, Shape]:
    """Return, for dense layers that read flattened images or series, what was flattened.

    The keys are the identities of the nodes.
    """
    shapes: dict[int, Shape] = {}
    shape: Shape = ()
    for node in nodes:
        if node.kind == "flatten":
            shape = node.shape
        elif node.kind == "dense":
            if len(shape) > 1:
                shapes[id(node)] = shape
            shape = ()
    return shapes


def _arrays(
    node: Node, start: str, flat: Shape | None, mistake: str | None, swap: str
) -> list[str]:
    """Return the expressions of a layer's weights.

    Parameters
    ----------
    node : Node
        The layer.
    start : str
        The text before the suffix of a parameter's name.
    flat : tuple of int or None
        The shape that was flattened before a dense layer.
    mistake : str or None
        What is wrong.
    swap : str
        The name of the function that changes the order of the gates.
    """

    def array(suffix: str) -> str:
        return f'{start}.{suffix}"]'

    if node.kind == "embedding":
        return [array("weight")]
    if node.kind in NORMS:
        return [array(suffix) for suffix in _norm_order(node, mistake)]
    if node.kind in GATES:
        return _recurrent(node, array, mistake, swap)
    kernel = _kernel(node, array("weight"), flat, mistake)
    return [kernel, array("bias")] if node["bias"] else [kernel]


def _norm_order(node: Node, mistake: str | None) -> list[str]:
    order = list(NORMS[node.kind])
    if mistake == "weight and bias swapped":
        order[:2] = ["bias", "weight"]
    if mistake == "mean and variance swapped":
        order[2:] = ["running_var", "running_mean"]
    return order


def _kernel(node: Node, array: str, flat: Shape | None, mistake: str | None) -> str:
    if node.kind == "dense":
        if flat is not None and mistake != "flatten order":
            height, width, channels = flat
            shape = f"(-1, {channels}, {height}, {width})"
            last = f"({height * width * channels}, -1)"
            return f"{array}.reshape({shape}).transpose(2, 3, 1, 0).reshape{last}"
        return array if mistake == "not transposed" else f"{array}.T"
    axes = {"conv2d": "2, 3, 1, 0", "conv1d": "2, 1, 0", "depthwise": "2, 3, 0, 1"}[node.kind]
    if mistake == "height and width swapped":
        axes = axes.replace("2, 3", "3, 2")
    return f"{array}.transpose({axes})"


def _recurrent(node: Node, array: ArrayText, mistake: str | None, swap: str) -> list[str]:
    names = ["weight_ih_l0", "weight_hh_l0"]
    if node["bias"]:
        names += ["bias_ih_l0", "bias_hh_l0"]
    texts = [array(name) for name in names]
    # PyTorch's GRU needs another order of the gates, and its LSTM does not.
    if (node.kind == "gru") != (mistake == "gate order"):
        texts = [f"{swap}({text})" for text in texts]
    kernels = [f"{text}.T" for text in texts[:2]]
    if not node["bias"]:
        return kernels
    if node.kind == "gru":
        return [*kernels, f"np.stack([{texts[2]}, {texts[3]}])"]
    if mistake == "second bias left out":
        return [*kernels, texts[2]]
    return [*kernels, f"{texts[2]} + {texts[3]}"]
