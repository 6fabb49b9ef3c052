"""The model of the Keras side, as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .code import (
    ACTIVATIONS,
    PARAMETERS,
    PROJECTIONS,
    Place,
    attribute,
    class_name,
    indent,
    projection,
)
from .design import Node, Pair, Side, walk
from .keras_layers import FORMS, WITH_ACTIVATION, activation_name, constructor, layer_name
from .style import Style

ChainWriter = Callable[[list[Node], str, str, bool], list[str]]
SELF_ATTENTION = """\
class SelfAttention({layers}Layer):
    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.query = {layers}Dense(dim)
        self.key = {layers}Dense(dim)
        self.value = {layers}Dense(dim)

    def call(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = {scores}
        weights = {softmax}
        return {product}
"""
WORD_TABLE = """\
class WordTable({layers}Layer):
    def __init__(self, words, dim, **kwargs):
        super().__init__(**kwargs)
        self.words = words
        self.table = self.add_weight(shape=(words, dim), initializer="uniform", name="table")

    def call(self, x):
        return {matmul}({one_hot}(x, self.words), self.table)
"""
OWN_LAYERS = ("SelfAttention", "WordTable")


@dataclass
class Imports:
    """How the program names modules; it collects the import lines that are needed.

    Parameters
    ----------
    style : Style
        The side's style.
    """

    style: Style
    lines: set[str] = field(default_factory=set[str])
    layers_used: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        forms = ("keras", "keras", "tensorflow keras", "tf", "tf.keras", "direct")
        self.form = self.style.pick("imports", forms)

    def keras(self, name: str) -> str:
        """Return a name of the keras module, for example ``losses.MeanSquaredError``."""
        if self.form in ("tf", "tf.keras"):
            self.lines.add("import tensorflow as tf")
            return f"tf.keras.{name}"
        if self.form == "tensorflow keras":
            self.lines.add("from tensorflow import keras")
        else:
            self.lines.add("import keras")
        return f"keras.{name}"

    def layer(self, text: str) -> str:
        """Return a layer's constructor, with the module before it."""
        if text.startswith(OWN_LAYERS):
            return text
        if self.form == "direct":
            self.layers_used.add(text.partition("(")[0])
            return text
        return self.layers() + text

    def layers(self) -> str:
        """Return what stands before the name of a layer."""
        if self.form == "tf.keras":
            self.lines.add("import tensorflow as tf")
            return "tf.keras.layers."
        if self.form == "direct":
            return ""
        source = "keras" if self.form == "keras" else "tensorflow.keras"
        self.lines.add(f"from {source} import layers")
        return "layers."

    def ops(self, function: str) -> str:
        """Return a function of keras.ops."""
        if self.form in ("keras", "direct"):
            self.lines.add("from keras import ops")
            return f"ops.{function}"
        return self.keras(f"ops.{function}")

    def text(self, program: str) -> list[str]:
        """Return the import lines that a program needs, in order."""
        lines = {line for line in self.lines if f"{line.split()[-1]}." in program}
        used = sorted(name for name in self.layers_used if re.search(rf"\b{name}\b", program))
        if used:
            lines.add(f"from keras.layers import {', '.join(used)}")
        return sorted(lines, key=lambda line: (line.startswith("from"), line))


@dataclass
class KerasModel:
    """Writes the model of a pair's Keras side.

    Parameters
    ----------
    pair : Pair
        The pair.
    side : Side
        The side to write, which may differ from the pair's.
    style : Style
        The side's style.
    form : str
        ``sequential``, ``add``, ``functional`` or ``subclass``.
    imports : Imports
        Where names come from.
    """

    pair: Pair
    side: Side
    style: Style
    form: str
    imports: Imports
    places: list[Place] = field(default_factory=list[Place])
    classes: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    block_layers: bool = False

    def write(self) -> str:
        """Fill in ``classes`` and ``places``; return the expression that makes the model."""
        if any(node["form"] == "by hand" for node in self.side.all("attention")):
            self._self_attention()
        if any(node.get("table") for node in self.side.all("embedding")):
            self._word_table()
        block_layers = self.form != "functional" or self.style.chance("blocks as layers", 0.3)
        for node in self.side.all("block"):
            self._block(node, block_layers)
        self._note(self.side.nodes, "")
        if self.form == "subclass":
            return self._subclass()
        lines = {"sequential": self._sequential, "add": self._add, "functional": self._functional}
        names = ("make_model", "create_model", "build_model", "get_model")
        name = self.style.pick("builder name", names)
        self.classes += [f"def {name}():", *indent(lines[self.form]()), "", ""]
        return f"{name}()"

    # Places

    def _note(self, nodes: list[Node], prefix: str) -> None:
        """Note the names that Keras will give to the layers."""
        merged = self._merged(nodes)
        for place, node in enumerate(nodes):
            if node.kind == "residual":
                self._note(node.body, prefix)
            elif node.kind == "block":
                for copy in range(node["repeat"]):
                    self._note(node.body, f"{node.id}.{copy}.")
            else:
                path = self._path(node, place in merged, bool(prefix))
                key = prefix + node.id
                self.places.append(Place(key, node, path))
                if node.kind == "attention" and node["form"] == "by hand":
                    self._note_projections(key, node)

    def _path(self, node: Node, merged: bool, block: bool) -> str:
        text = self._constructor(node, None, block)
        if merged or text is None:
            return f"activation {node.kind}" if merged else str(self._operation(node, "x"))
        if self._explicit_name(node, block):
            return attribute(node, self.style, self._is_last(node, block))
        return self._counted(layer_name(text))

    def _counted(self, name: str) -> str:
        """Return a layer's name with the number that Keras appends."""
        count = self.counts.get(name, 0)
        self.counts[name] = count + 1
        return name if count == 0 else f"{name}_{count}"

    def _note_projections(self, key: str, node: Node) -> None:
        """Note the dense layers inside an attention that is written by hand."""
        for part in PROJECTIONS:
            self.places.append(Place(f"{key}.{part}", projection(node), self._counted("dense")))

    def _merged(self, nodes: list[Node]) -> set[int]:
        """Return the places of activations that are an argument of the layer before them."""
        if not self.style.chance("activation as argument", 0.65):
            return set()
        places: set[int] = set()
        for place, node in enumerate(nodes[1:], 1):
            if nodes[place - 1].kind not in WITH_ACTIVATION:
                continue
            if node.kind in ACTIVATIONS and activation_name(node, self.style):
                places.add(place)
        return places

    def _explicit_name(self, node: Node, block: bool) -> bool:
        named = self.side.forms.get("named") or self.style.chance("layer names", 0.2)
        return bool(named) and not block and node.kind in PARAMETERS and self.form != "subclass"

    def _is_last(self, node: Node, block: bool) -> bool:
        dense = [other for other in self.side.nodes if other.kind == "dense"]
        return not block and bool(dense) and node is dense[-1]

    # Layers

    def _constructor(self, node: Node, activation: Node | None, block: bool) -> str | None:
        """Return the text that makes a node's layer, or None if an operation computes it."""
        extra: list[str | None] = []
        if activation is not None:
            extra.append(f"activation={self._activation(activation)}")
        if self.side.l2 is not None and node.kind in WITH_ACTIVATION:
            penalty = f"{self.imports.keras('regularizers')}.L2({self.side.l2!r})"
            extra += [f"kernel_regularizer={penalty}", f"bias_regularizer={penalty}"]
        if node.get("frozen"):
            extra.append("trainable=False")
        if self._explicit_name(node, block):
            name = attribute(node, self.style, self._is_last(node, block))
            extra.append(f'name="{name}"')
        text = constructor(node, self.style, *extra)
        return None if text is None else self.imports.layer(text)

    def _activation(self, node: Node) -> str:
        """Return an activation as an argument: its name, or a function."""
        name = activation_name(node, self.style)
        if self.style.chance("activations as functions", 0.85) or name in ("swish", "gelu"):
            return f'"{name}"'
        return f"{self.imports.keras('activations')}.{name}"

    def _layers(self, nodes: list[Node], block: bool = False) -> list[tuple[Node, str | None]]:
        """Return nodes with their constructors; merged activations are left out."""
        merged = self._merged(nodes)
        found: list[tuple[Node, str | None]] = []
        for place, node in enumerate(nodes):
            if place in merged:
                continue
            activation = nodes[place + 1] if place + 1 in merged else None
            if node.kind in ("residual", "block"):
                found.append((node, None))
            else:
                found.append((node, self._constructor(node, activation, block)))
        return found

    def _operation(self, node: Node, x: str) -> str | None:
        """Return a node as an expression, if it has no layer."""
        if node.kind == "gelu":
            approximate = "" if node["approximate"] else ", approximate=False"
            return f"{self.imports.ops('gelu')}({x}{approximate})"
        if node.get("form") in FORMS:
            return FORMS[node["form"]].format(ops=self.imports.ops(""), x=x)
        if node.kind == "detach":
            return f"{self.imports.ops('stop_gradient')}({x})"
        if node.kind in ("softmax", "log_softmax"):
            return f"{self.imports.ops(node.kind)}({x}, axis={node.get('axis', -1)})"
        return None

    # Sequential models

    def _input(self) -> str:
        dtype = ', dtype="int32"' if self.pair.data.kind == "tokens" else ""
        sizes = self.side.nodes[0].shape
        shape = ", ".join(map(str, sizes))
        comma = "," if len(sizes) == 1 else ""
        return f"{self.imports.keras('Input')}(({shape}{comma}){dtype})"

    def _items(self) -> list[str]:
        items = [self._input()]
        for node, text in self._layers(self.side.nodes):
            if node.kind == "block":
                items += [f"{self._block_name(node)}()"] * node["repeat"]
            elif text is None:
                function = self._operation(node, "t")
                items.append(self.imports.layer(f"Lambda(lambda t: {function})"))
            else:
                items.append(text)
        return items

    def _sequential(self) -> list[str]:
        items = [f"{item}," for item in self._items()]
        maker = self.imports.keras("Sequential")
        return [f"return {maker}([", *indent(items), "])"]

    def _add(self) -> list[str]:
        lines = [f"model = {self.imports.keras('Sequential')}()"]
        return [*lines, *(f"model.add({item})" for item in self._items()), "return model"]

    # Functional models

    def _functional(self) -> list[str]:
        first = self.style.pick("input name", ("inputs", "inputs", "inp"))
        lines = [*self._mask_lines(first), *self._chain(self.side.nodes, first, "x")]
        lines[-1] = lines[-1].replace("x = ", "outputs = ", 1)
        model = self.imports.keras("Model")
        return [f"{first} = {self._input()}", *lines, f"return {model}({first}, outputs)"]

    def _chain(self, nodes: list[Node], source: str, target: str, block: bool = False) -> list[str]:
        """Return lines that apply new layers, one after the other."""
        lines: list[str] = []
        for node, text in self._layers(nodes, block):
            x = target if lines else source
            if node.kind == "residual":
                lines += self._residual(node, x, self._chain)
            elif node.kind == "block":
                lines += self._block_calls(node, x)
            elif text is None:
                lines.append(f"{target} = {self._operation(node, x)}")
            else:
                lines.append(f"{target} = {text}({self._inputs(node, x)})")
        return lines

    def _inputs(self, node: Node, x: str) -> str:
        """Return the arguments of a layer's call."""
        if node.kind == "attention" and node["form"] == "layer":
            mask = ", attention_mask=mask" if node.get("mask") else ""
            return f"{x}, {x}{mask}"
        if node.kind == "dropout" and node.get("always"):
            return f"{x}, training=True"
        return x

    def _mask_lines(self, x: str) -> list[str]:
        """Return the line that says which words are attended to, if there is one."""
        sign = self.side.forms.get("mask")
        if sign is None:
            return []
        compare = self.imports.ops("not_equal" if sign == "!=" else "equal")
        return [f"mask = {self.imports.ops('expand_dims')}({compare}({x}, 0), 1)"]

    def _residual(self, node: Node, x: str, chain: ChainWriter) -> list[str]:
        if not node.get("skip", True):
            return chain(node.body, x, x, True)
        branch = self.style.pick("branch", ("y", "out", "h", "shortcut"))
        lines = chain(node.body, x, branch, True)
        forms = ["{0} + {1}", "{1} + {0}"]
        if self.form == "functional":
            forms += ["add", "add"]
        form = self.style.pick("sum", forms)
        if form == "add":
            return [*lines, f"{x} = {self.imports.layer('Add()')}([{x}, {branch}])"]
        return [*lines, f"{x} = {form.format(x, branch)}"]

    def _block_calls(self, node: Node, x: str) -> list[str]:
        name = self._block_name(node)
        line = f"x = {name}()({x})" if name[0].isupper() else f"x = {name}({x})"
        if node["repeat"] == 1:
            return [line]
        return [f"for _ in range({node['repeat']}):", *indent([line])]

    # Blocks

    def _block(self, node: Node, as_layer: bool) -> None:
        self.block_layers = as_layer
        name = self._block_name(node)
        if not as_layer:
            body = self._chain(node.body, "x", "x", block=True)
            lines = [f"def {name}(x):", *indent([*body, "return x"])]
        else:
            lines = self._layer_class(name, self.imports.layer("Layer"), node.body, block=True)
        self.classes += [*lines, "", ""]

    def _block_name(self, node: Node) -> str:
        attends = any(inner.kind == "attention" for part in node.body for inner in part.body)
        names = ("encoder_block", "transformer_block") if attends else ("residual_block", "block")
        name = self.style.pick("block name", names)
        if self.block_layers:
            return "".join(word.capitalize() for word in name.split("_"))
        return name

    # Subclassed models

    def _subclass(self) -> str:
        name = class_name(self.pair.theme, self.style)
        base = self.imports.keras("Model")
        self.classes += [*self._layer_class(name, base, self.side.nodes, block=False), "", ""]
        return f"{name}()"

    def _layer_class(self, name: str, base: str, nodes: list[Node], block: bool) -> list[str]:
        inits = self._inits(nodes, block)
        body = [] if block else self._mask_lines("x")
        body += self._calls(nodes, "x", "x", block)
        body[-1] = body[-1].replace("x = ", "return ", 1)
        training = any(_has_modes(node) for node in nodes)
        signature = "def call(self, x, training=None):" if training else "def call(self, x):"
        return [
            f"class {name}({base}):",
            *indent(["def __init__(self, **kwargs):"]),
            *indent(["super().__init__(**kwargs)", *inits], 2),
            "",
            *indent([signature, *indent(body)]),
        ]

    def _inits(self, nodes: list[Node], block: bool) -> list[str]:
        lines: list[str] = []
        for node, text in self._layers(nodes, block):
            name = attribute(node, self.style, self._is_last(node, block))
            if node.kind == "residual":
                lines += self._inits(node.body, block)
            elif node.kind == "block":
                makers = f"{self._block_name(node)}()"
                if node["repeat"] > 1:
                    makers = f"[{makers} for _ in range({node['repeat']})]"
                lines.append(f"self.{name} = {makers}")
            elif text is not None:
                lines.append(f"self.{name} = {text}")
        return lines

    def _calls(self, nodes: list[Node], source: str, target: str, block: bool) -> list[str]:
        lines: list[str] = []
        for node, text in self._layers(nodes, block):
            x = target if lines else source
            name = attribute(node, self.style, self._is_last(node, block))
            always = node.kind == "dropout" and node.get("always")
            training = ", training=training" if _has_modes(node) and not always else ""
            if node.kind == "residual":
                lines += self._residual(node, x, self._calls)
            elif node.kind == "block" and node["repeat"] > 1:
                lines += [f"for block in self.{name}:", f"    {target} = block({target}{training})"]
            elif text is None and node.kind != "block":
                lines.append(f"{target} = {self._operation(node, x)}")
            else:
                lines.append(f"{target} = self.{name}({self._inputs(node, x)}{training})")
        return lines

    def _word_table(self) -> None:
        ops = self.imports.ops
        text = WORD_TABLE.format(
            layers=self.imports.layers(), matmul=ops("matmul"), one_hot=ops("one_hot")
        )
        if self.imports.form == "direct":
            self.imports.layers_used.add("Layer")
        self.classes += [*text.splitlines(), "", ""]

    def _self_attention(self) -> None:
        node = self.side.all("attention")[0]
        ops = self.imports.ops
        scores = f"{ops('matmul')}(q, {ops('transpose')}(k, (0, 2, 1)))"
        if node["scale"]:
            scores += " / self.dim**0.5"
        text = SELF_ATTENTION.format(
            layers=self.imports.layers(),
            scores=scores,
            softmax=f"{ops('softmax')}(scores, axis={node['axis']})",
            product=f"{ops('matmul')}(weights, v)",
        )
        if self.imports.form == "direct":
            self.imports.layers_used |= {"Layer", "Dense"}
        self.classes += [*text.splitlines(), "", ""]


def _has_modes(node: Node) -> bool:
    """Return whether a node computes something else in training than in evaluation."""
    return any(inner.kind in ("bn", "dropout") for inner in walk([node]))


def forms(pair: Pair, side: Side, style: Style) -> list[str]:
    """Return the forms in which a side's model can be written, the preferred one first."""
    possible = ["functional", "functional", "subclass"]
    kinds = {node.kind for node in side.nodes}
    always = any(node.get("always") for node in side.all("dropout"))
    special = {"residual", "attention", "detach"}
    if not kinds & special and not always and not any(node.get("form") for node in side.nodes):
        possible += ["sequential", "add"]
    return list(dict.fromkeys(style.shuffled("form", possible)))
