"""What a pair of programs computes, before it is written as code.

A `Pair` has two sides. In a correct pair both mean the same; a fault changes one of them. The
writers (`torch_writer`, `keras_writer`) turn a side into the text of a program.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]

# Values that a program need not write, because they are the framework's defaults.
# Keys are (kind of part, option). Momentum of BatchNorm is the weight of the new batch's value.
DEFAULTS: dict[str, dict[tuple[str, str], Any]] = {
    "torch": {
        ("bn", "eps"): 1e-5,
        ("bn", "momentum"): 0.1,
        ("ln", "eps"): 1e-5,
        ("gn", "eps"): 1e-5,
        ("rms", "eps"): None,
        ("leaky_relu", "slope"): 0.01,
        ("sgd", "lr"): 1e-3,
        ("adam", "lr"): 1e-3,
        ("adam", "eps"): 1e-8,
        ("adamw", "lr"): 1e-3,
        ("adamw", "eps"): 1e-8,
        ("adamw", "weight_decay"): 0.01,
        ("rmsprop", "lr"): 0.01,
        ("rmsprop", "rho"): 0.99,
        ("rmsprop", "eps"): 1e-8,
        ("adagrad", "lr"): 0.01,
        ("adagrad", "initial"): 0.0,
        ("adagrad", "eps"): 1e-10,
        ("adadelta", "lr"): 1.0,
        ("adadelta", "rho"): 0.9,
        ("adadelta", "eps"): 1e-6,
        ("nadam", "lr"): 2e-3,
        ("nadam", "eps"): 1e-8,
        ("nadam", "momentum_decay"): 4e-3,
        ("adamax", "lr"): 2e-3,
        ("adamax", "eps"): 1e-8,
    },
    "keras": {
        ("bn", "eps"): 1e-3,
        ("bn", "momentum"): 0.01,
        ("ln", "eps"): 1e-3,
        ("gn", "eps"): 1e-3,
        ("rms", "eps"): 1e-6,
        ("leaky_relu", "slope"): 0.3,
        ("sgd", "lr"): 0.01,
        ("adam", "lr"): 1e-3,
        ("adam", "eps"): 1e-7,
        ("adamw", "lr"): 1e-3,
        ("adamw", "eps"): 1e-7,
        ("adamw", "weight_decay"): 0.004,
        ("rmsprop", "lr"): 1e-3,
        ("rmsprop", "rho"): 0.9,
        ("rmsprop", "eps"): 1e-7,
        ("adagrad", "lr"): 1e-3,
        ("adagrad", "initial"): 0.1,
        ("adagrad", "eps"): 1e-7,
        ("adadelta", "lr"): 1e-3,
        ("adadelta", "rho"): 0.95,
        ("adadelta", "eps"): 1e-7,
        ("nadam", "lr"): 1e-3,
        ("nadam", "eps"): 1e-7,
        ("nadam", "momentum_decay"): 1.0,
        ("adamax", "lr"): 1e-3,
        ("adamax", "eps"): 1e-7,
    },
}


@dataclass
class Part:
    """A part of a program that is not a layer: a loss, an optimizer, a step of preprocessing.

    Attributes
    ----------
    kind : str
        What it is, for example ``sgd``.
    options : dict
        Its settings, in one meaning for both frameworks.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def __getitem__(self, name: str) -> Any:
        """Return a setting."""
        return self.options[name]

    def __setitem__(self, name: str, value: Any) -> None:
        """Change a setting."""
        self.options[name] = value

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting, or a default."""
        return self.options.get(name, default)


@dataclass
class Node(Part):
    """A layer, an operation, or a block of them.

    Attributes
    ----------
    index : int
        Counts the nodes of this kind from 1; it remains when others are removed.
    body : list of Node
        What a ``block`` or ``residual`` holds.
    shape, out : tuple of int
        Shape of the input and the output, channels last, without the batch.
    """

    index: int = 0
    body: list[Node] = field(default_factory=list["Node"])
    shape: Shape = ()
    out: Shape = ()

    @property
    def id(self) -> str:
        """The node's name in the tables; unique in a side except in repeated blocks."""
        return f"{self.kind}{self.index}"


@dataclass
class Side:
    """One program.

    Attributes
    ----------
    framework : str
        ``torch`` or ``keras``.
    nodes : list of Node
        The model, in order of computation.
    head : str
        What the model returns: ``logits``, ``softmax``, ``log_softmax``, ``sigmoid`` or ``values``.
    preprocess : list of Part
        Steps from the raw arrays to what the model gets, without the change of layout.
    loss, optimizer, schedule, metric, callback, batches, loading : Part or None
        The rest of the program.
    l2 : float or None
        Factor of an L2 penalty on every weight (Keras side).
    forms : dict
        Choices of writing that a fault or a design prescribes; else the style decides.
    """

    framework: str
    nodes: list[Node]
    head: str = "logits"
    preprocess: list[Part] = field(default_factory=list[Part])
    loss: Part | None = None
    optimizer: Part | None = None
    schedule: Part | None = None
    metric: Part | None = None
    callback: Part | None = None
    batches: Part | None = None
    loading: Part | None = None
    l2: float | None = None
    forms: dict[str, Any] = field(default_factory=dict[str, Any])

    def walk(self) -> Iterator[Node]:
        """Yield every node, those of blocks included, in order of computation."""
        yield from walk(self.nodes)

    def first(self, kind: str) -> Node | None:
        """Return the first node of a kind, or None."""
        return next((node for node in self.walk() if node.kind == kind), None)

    def all(self, kind: str) -> list[Node]:
        """Return the nodes of a kind."""
        return [node for node in self.walk() if node.kind == kind]


@dataclass
class Pair:
    """Two programs for one job.

    Attributes
    ----------
    family : str
        Kind of model, for example ``dense``.
    theme : str
        A word for the job, of which names are made, for example ``churn``.
    task : str
        ``classes``, ``binary`` or ``values``.
    input_shape : tuple of int
        Shape of one raw example.
    data : Part
        How the batch is drawn.
    torch, keras : Side
        The two programs.
    also : list of str
        Catalogue ids of differences that are there and harmless.
    not_compared : list of str
        Stages at which the sides differ by how they are written, although they train equally.
    """

    family: str
    theme: str
    task: str
    input_shape: Shape
    data: Part
    torch: Side
    keras: Side
    also: list[str] = field(default_factory=list[str])
    not_compared: list[str] = field(default_factory=list[str])

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both sides."""
        return self.torch, self.keras

    def side(self, framework: str) -> Side:
        """Return the side of a framework."""
        return self.torch if framework == "torch" else self.keras


def walk(nodes: list[Node]) -> Iterator[Node]:
    """Yield nodes and what they hold, in order of computation."""
    for node in nodes:
        yield node
        yield from walk(node.body)


def is_default(framework: str, part: Part, option: str) -> bool:
    """Return whether an option has the framework's default, so that a program need not write it."""
    key = (part.kind, option)
    table = DEFAULTS[framework]
    return key in table and table[key] == part.get(option)
