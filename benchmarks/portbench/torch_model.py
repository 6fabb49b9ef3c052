"""The model of the PyTorch side, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .code import (
    ACTIVATIONS,
    PROJECTIONS,
    Place,
    attribute,
    call,
    class_name,
    indent,
    join,
    projection,
)
from .design import Node, Pair, Side
from .style import Style
from .torch_layers import constructor, function

RECURRENT = ("lstm", "gru")
# Nodes that a class writes as expressions; those of the second line have no module at all.
OPERATIONS = {
    "flatten", "mean", "pad",
    "squeeze", "rescale", "detach", "crop", "upsample", "resize",
}  # fmt: skip
SELF_ATTENTION = """\
class SelfAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = {scores}
        weights = {softmax}
        return weights @ v
"""
BATCH_NORM = """\
class BatchNorm(nn.BatchNorm1d):
    def forward(self, x):
        if not self.training:
            return super().forward(x)
        mean = x.mean(dim=0)
        var = x.var(dim=0, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias
"""


@dataclass
class Statement:
    """One assignment; ``wraps`` says whether an activation may be written around it."""

    target: str
    value: str
    wraps: bool = True
    loop: str = ""

    def lines(self) -> list[str]:
        """Return it as code."""
        line = f"{self.target} = {self.value}"
        return [self.loop, *indent([line])] if self.loop else [line]


@dataclass
class TorchModel:
    """Writes the model of a pair's PyTorch side.

    Parameters
    ----------
    pair : Pair
        The pair.
    side : Side
        The side to write, which may differ from the pair's.
    style : Style
        The side's style.
    form : str
        ``class``, ``sequential``, ``parts`` or ``list``: how the model is written.
    """

    pair: Pair
    side: Side
    style: Style
    form: str
    places: list[Place] = field(default_factory=list[Place])
    classes: list[str] = field(default_factory=list[str])

    @property
    def channels_first(self) -> bool:
        """Whether tensors have their channels before their places."""
        return self.pair.data.kind == "images" or self.pair.family == "series"

    def write(self) -> str:
        """Fill in ``classes`` and ``places``; return the expression that makes the model."""
        for node in self.side.all("attention"):
            if node["form"] == "by hand":
                self.classes += [*_self_attention(node).splitlines(), "", ""]
                break
        if any(node.get("biased") for node in self.side.all("bn")):
            self.classes += [*BATCH_NORM.splitlines(), "", ""]
        for node in self.side.all("block"):
            self._block_class(node)
        if self.form == "sequential":
            return self._sequential()
        name = class_name(self.pair.theme, self.style)
        self._model_class(name)
        return f"{name}()"

    # The model as nn.Sequential

    def _sequential(self) -> str:
        items = self._items(self.side.nodes, "")
        name = self.style.pick("builder name", ("make_model", "create_model", "get_model", "net"))
        lines = join("return ", call("nn.Sequential", items))
        self.classes += [f"def {name}():", *indent(lines), "", ""]
        return f"{name}()"

    def _items(self, nodes: list[Node], prefix: str) -> list[str]:
        """Return the constructors of a Sequential's modules, and note their places."""
        items: list[str] = []
        for node in nodes:
            if node.kind == "block":
                for copy in range(node["repeat"]):
                    self._inside(node, f"{prefix}{len(items)}", copy)
                    items.append(f"{self._block_name(node)}()")
                continue
            self.places.append(Place(node.id, node, f"{prefix}{len(items)}"))
            items += self._modules(node)
        return items

    def _modules(self, node: Node) -> list[str]:
        if node.kind == "mean":
            return [f"nn.AdaptiveAvgPool{len(node.shape) - 1}d(1)", "nn.Flatten()"]
        text = constructor(node, self.style)
        if text is None:
            raise ValueError(f"{node.id} has no module")
        return [text]

    def _inside(self, block: Node, path: str, copy: int) -> None:
        """Note the places in one copy of a block."""
        for node in _leaves(block):
            name = attribute(node, self.style)
            where = f"{path}.{name}" if self._has_attribute(node) else self._operation(node)
            key = f"{block.id}.{copy}.{node.id}"
            self.places.append(Place(key, node, where))
            if node.kind == "attention" and node["form"] == "by hand":
                self.places += [
                    Place(f"{key}.{part}", projection(node), f"{where}.{part}")
                    for part in PROJECTIONS
                ]

    # The model as a class

    def _model_class(self, name: str) -> None:
        if self.form == "parts":
            inits, body = self._parts()
        elif self.form == "list":
            inits, body = self._list()
        else:
            inits = self._inits(self.side.nodes)
            body = self._forward(self.side.nodes)
        words = self._sizes_as_words(inits)
        head = self.style.pick("super", ("super().__init__()", f"super({name}, self).__init__()"))
        self.classes += [
            f"class {name}(nn.Module):",
            *indent([f"def __init__(self{words}):", *indent([head, *inits])]),
            "",
            *indent(["def forward(self, x):", *indent(body)]),
            "",
            "",
        ]

    def _sizes_as_words(self, inits: list[str]) -> str:
        """Turn the sizes of inputs and outputs into parameters of the class, in ``inits``."""
        if self.form == "list" or not self.style.chance("sizes as words", 0.35):
            return ""
        names = self.style.pick("size words", (("n_features", "n_classes"), ("inputs", "outputs"),
                                               ("in_dim", "out_dim")))  # fmt: skip
        layer = r"(nn\.(?:Linear|Conv.d|LSTM|GRU)\()(\d+)(, )"
        last = re.search(r"(.*nn\.Linear\(\d+, )(\d+)(.*)", inits[-1])
        first = re.search(layer, inits[0])
        if first is None or last is None or len(inits) < 2:
            return ""
        inits[0] = inits[0].replace(first[0], f"{first[1]}{names[0]}{first[3]}", 1)
        inits[-1] = f"{last[1]}{names[1]}{last[3]}"
        return f", {names[0]}={first[2]}, {names[1]}={last[2]}"

    def _list(self) -> tuple[list[str], list[str]]:
        """Return the lines of a model whose hidden layers are in a list."""
        name = self.style.pick("list name", ("layers", "hidden", "blocks"))
        nodes = self.side.nodes
        last = _last_dense(nodes)
        hidden = [node for node in nodes if node.kind == "dense"][:-1]
        items = [str(constructor(node, self.style)) for node in hidden]
        for place, node in enumerate(hidden):
            self.places.append(Place(node.id, node, f"{name}.{place}"))
        inits = join(f"self.{name} = ", call("nn.ModuleList", [f"[{', '.join(items)}]"]))
        tail = nodes[nodes.index(last) :]
        inits += self._inits(tail)
        step = self._expression(nodes[1], "layer(x)", False)
        statements = self._chain(tail, "x", "x", False)
        value = statements.pop().value
        body = [f"for layer in self.{name}:", f"    x = {step}"]
        for statement in statements:
            body += statement.lines()
        return inits, [*body, f"return {value}"]

    def _parts(self) -> tuple[list[str], list[str]]:
        """Return the lines of a model of two Sequentials."""
        nodes = self.side.nodes
        cut = next(i for i, node in enumerate(nodes) if node.kind in ("flatten", "mean"))
        names = self.style.pick("part names", (("features", "classifier"), ("body", "head"),
                                               ("backbone", "top")))  # fmt: skip
        inits: list[str] = []
        for part, group in zip(names, (nodes[:cut], nodes[cut + 1 :]), strict=True):
            inits += join(f"self.{part} = ", call("nn.Sequential", self._items(group, f"{part}.")))
        middle = function(nodes[cut], "x", self.style, self.channels_first)
        self.places.append(Place(nodes[cut].id, nodes[cut], str(middle)))
        body = [*self._layout_lines(), f"x = self.{names[0]}(x)", f"x = {middle}"]
        return inits, [*body, f"return self.{names[1]}(x)"]

    def _inits(self, nodes: list[Node], block: bool = False) -> list[str]:
        lines: list[str] = []
        for node in nodes:
            if node.kind == "residual":
                lines += self._inits(node.body, block)
            elif node.kind == "block":
                lines += self._block_inits(node)
            elif self._has_attribute(node):
                name = self._name(node, block)
                line = f"self.{name} = {constructor(node, self.style)}"
                if line in lines:  # a layer that is applied again
                    continue
                lines += [line, *_start_lines(node, name)]
                if not block:
                    self.places.append(Place(node.id, node, name))
            elif not block:
                self.places.append(Place(node.id, node, self._operation(node)))
        return lines

    def _block_inits(self, node: Node) -> list[str]:
        name = attribute(node, self.style)
        maker = f"{self._block_name(node)}()"
        if node["repeat"] == 1:
            self._inside(node, name, 0)
            return [f"self.{name} = {maker}"]
        for copy in range(node["repeat"]):
            self._inside(node, f"{name}.{copy}", copy)
        makers = f"{maker} for _ in range({node['repeat']})"
        if self.style.chance("block list"):
            return [f"self.{name} = nn.ModuleList([{makers}])"]
        return [f"self.{name} = nn.Sequential(*[{makers}])"]

    def _block_class(self, node: Node) -> None:
        body = self._forward(node.body, block=True)
        self.classes += [
            f"class {self._block_name(node)}(nn.Module):",
            *indent(["def __init__(self):"]),
            *indent(["super().__init__()", *self._inits(node.body, block=True)], 2),
            "",
            *indent(["def forward(self, x):", *indent(body)]),
            "",
            "",
        ]

    def _block_name(self, node: Node) -> str:
        names = ("Block", "ResidualBlock", "ResBlock")
        if any(inner.kind == "attention" for inner in _leaves(node)):
            names = ("EncoderBlock", "TransformerBlock", "Block")
        return self.style.pick("block name", names)

    # The forward method

    def _forward(self, nodes: list[Node], block: bool = False) -> list[str]:
        lines = [] if block else self._layout_lines()
        statements = self._chain(nodes, "x", "x", block)
        last = statements.pop()
        for statement in statements:
            lines += statement.lines()
        return [*lines, f"return {last.value}"]

    def _layout_lines(self) -> list[str]:
        mask = self.side.forms.get("mask")
        if mask is not None:
            return [f"mask = x {mask} 0"]
        if self.side.forms.get("layout") != "forward":
            return []
        return ["x = x.transpose(1, 2)"]

    def _chain(self, nodes: list[Node], source: str, target: str, block: bool) -> list[Statement]:
        """Return the statements that compute nodes, one after the other."""
        statements: list[Statement] = []
        for node in nodes:
            current = target if statements else source
            if node.kind == "residual":
                statements += self._residual(node, current, block)
            elif node.kind == "block":
                statements += self._block_calls(node, current)
            elif node.kind in RECURRENT:
                statements += self._recurrent(node, current, target, block)
            else:
                self._apply(node, current, target, statements, block)
        return statements

    def _apply(
        self, node: Node, current: str, target: str, statements: list[Statement], block: bool
    ) -> None:
        merges = node.kind in ACTIVATIONS and self.style.chance("merge activations", 0.7)
        if merges and statements and statements[-1].wraps:
            last = statements[-1]
            last.value = self._expression(node, last.value, block)
            last.wraps = False
            return
        value = self._expression(node, current, block)
        statements.append(Statement(target, value, node.kind not in ACTIVATIONS))

    def _expression(self, node: Node, x: str, block: bool) -> str:
        if node.kind == "attention" and node["form"] == "layer":
            name = self._name(node, block)
            mask = "key_padding_mask=mask, " if node.get("mask") else ""
            return f"self.{name}({x}, {x}, {x}, {mask}need_weights=False)[0]"
        if self._has_attribute(node):
            return f"self.{self._name(node, block)}({x})"
        text = function(node, x, self.style, self.channels_first)
        if text is None:
            raise ValueError(f"{node.id} cannot be written")
        return text

    def _residual(self, node: Node, x: str, block: bool) -> list[Statement]:
        if not node.get("skip", True):
            return self._chain(node.body, x, x, block)
        branch = self.style.pick("branch", ("y", "out", "h", "residual"))
        order = self.style.pick("sum order", ("{0} = {0} + {1}", "{0} = {1} + {0}"))
        statements = self._chain(node.body, x, branch, block)
        target, value = order.format(x, branch).split(" = ")
        return [*statements, Statement(target, value)]

    def _block_calls(self, node: Node, x: str) -> list[Statement]:
        name = attribute(node, self.style)
        if node["repeat"] > 1 and self.style.chance("block list"):
            loop = f"for block in self.{name}:"
            return [Statement("x", f"block({x})", wraps=False, loop=loop)]
        return [Statement("x", f"self.{name}({x})", wraps=False)]

    def _recurrent(self, node: Node, x: str, target: str, block: bool) -> list[Statement]:
        name = self._name(node, block)
        if node["sequences"]:
            return [Statement(f"{target}, _", f"self.{name}({x})", wraps=False)]
        place = node.get("place", -1)
        final = self.style.chance("final state", 0.4) and not node.get("outputs only")
        if place == -1 and final:
            state = "(h, _)" if node.kind == "lstm" else "h"
            return [Statement(f"_, {state}", f"self.{name}({x})", wraps=False),
                    Statement(target, "h[-1]")]  # fmt: skip
        return [Statement("out, _", f"self.{name}({x})", wraps=False),
                Statement(target, f"out[:, {place}]")]  # fmt: skip

    # Names

    def _name(self, node: Node, block: bool) -> str:
        last = not block and node.kind == "dense" and node is _last_dense(self.side.nodes)
        return attribute(node, self.style, last=last)

    def _has_attribute(self, node: Node) -> bool:
        """Return whether a node is a module of its own in a class."""
        if node.kind in ACTIVATIONS or node.kind in OPERATIONS:
            return False
        if node.kind in ("max_pool", "avg_pool"):
            return self.style.chance("pooling as module", 0.4)
        return not (node.kind == "dropout" and node.get("function"))

    def _operation(self, node: Node) -> str:
        return str(function(node, "x", self.style, self.channels_first))


def _leaves(block: Node) -> Iterable[Node]:
    for node in block.body:
        if node.kind == "residual":
            yield from _leaves(node)
        else:
            yield node


def _start_lines(node: Node, name: str) -> list[str]:
    """Return the lines after a layer's constructor that change its weights."""
    if node.get("zero bias"):
        return [f"nn.init.zeros_(self.{name}.bias)"]
    if node.get("one bias"):
        return [f"nn.init.zeros_(self.{name}.bias_hh_l0)",
                f"self.{name}.bias_hh_l0.requires_grad_(False)"]  # fmt: skip
    return []


def frozen_lines(places: list[Place]) -> list[str]:
    """Return the lines of ``build`` that keep layers from being trained."""
    lines: list[str] = []
    for place in places:
        if place.node.get("frozen"):
            path = re.sub(r"\.(\d+)", r"[\1]", f".{place.path}")
            lines.append(f"model{path}.requires_grad_(False)")
    return lines


def _self_attention(node: Node) -> str:
    scores = "q @ k.transpose(1, 2)"
    if node["scale"]:
        scores += " / q.size(-1) ** 0.5"
    return SELF_ATTENTION.format(scores=scores, softmax=f"scores.softmax(dim={node['axis']})")


def forms(pair: Pair, side: Side, style: Style) -> list[str]:
    """Return the forms in which a side's model can be written, the preferred one first."""
    possible = ["class", "class"]
    kinds = {node.kind for node in side.nodes}
    plain = not any(_needs_class(node) for node in side.nodes)
    if len({node.id for node in side.nodes}) < len(side.nodes):
        plain = False  # a layer is applied twice
    channels_last_mean = pair.family in ("attention", "masked") and "mean" in kinds
    if plain and side.forms.get("layout") != "forward" and not channels_last_mean:
        possible.append("sequential")
    if plain and _is_regular(side.nodes):
        possible += ["list", "list"]
    cut = [node for node in side.nodes if node.kind in ("flatten", "mean")]
    if plain and len(cut) == 1 and "block" not in kinds:
        possible.append("parts")
    return list(dict.fromkeys(style.shuffled("form", possible)))


def _last_dense(nodes: list[Node]) -> Node:
    return [node for node in nodes if node.kind == "dense"][-1]


def _is_regular(nodes: list[Node]) -> bool:
    """Return whether a model is dense layers, each with the same activation, and a last one."""
    if len(nodes) < 5 or any(node.get("form") for node in nodes):
        return False
    hidden = nodes[: nodes.index(_last_dense(nodes))]
    layers, activations = hidden[0::2], hidden[1::2]
    if any(node.kind != "dense" or node.get("zero bias") for node in layers):
        return False
    first = activations[0] if activations else None
    return len(layers) == len(activations) and all(
        node.kind in ACTIVATIONS and (node.kind, node.options) == (first.kind, first.options)
        for node in activations
        if first is not None
    )


def _needs_class(node: Node) -> bool:
    """Return whether nn.Sequential has no module for a node, or lines follow its constructor."""
    if node.kind in (*RECURRENT, "residual", "attention", "embedding"):
        return True
    if node.get("function") or node.get("form") or node.get("zero bias"):
        return True
    return node.kind in OPERATIONS - {"flatten", "mean", "pad"}
