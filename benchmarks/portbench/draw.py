"""Drawing pairs: a correct one, faults in it, and the programs of every variant."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from . import keras_model, keras_writer, torch_model, torch_writer
from .batch import Arrays, batch, parameter_shapes, weights
from .code import PARAMETERS, Program
from .design import Node, Pair
from .families import FAMILIES
from .faults.kind import Kind, Unsuitable
from .keras_loading import flattened
from .style import Style

Programs = dict[str, Program]  # by framework


@dataclass
class Drawn:
    """A pair with its faults.

    Attributes
    ----------
    pairs : dict of str to Pair
        The variants: ``as written``; ``correct``, without the faults; and with two faults
        ``without 1`` and ``without 2``, in which the first or the second fault is undone.
    kinds : list of Kind
        The faults, none, one or two; those at earlier stages first.
    nodes : list of Node or None
        Where each fault is, in the pair as written.
    programs : dict of str to Programs
        The programs of every variant.
    arrays : dict
        ``batch.npz``.
    loaded : dict or None
        ``weights.npz``.
    seed : str
        What everything was drawn with.
    """

    pairs: dict[str, Pair]
    kinds: list[Kind]
    nodes: list[Node | None]
    programs: dict[str, Programs]
    arrays: Arrays
    loaded: Arrays | None
    seed: str

    @property
    def pair(self) -> Pair:
        """The pair as written, with all its faults."""
        return self.pairs["as written"]

    @property
    def correct(self) -> Pair:
        """The pair without its faults."""
        return self.pairs["correct"]


def draw(kinds: list[Kind], family: str, seed: str) -> Drawn:
    """Return a pair of a family with faults of the given kinds.

    Raises
    ------
    Unsuitable
        If the drawn pair has no place for the faults: draw with another seed.
    """
    style = Style(seed)
    pair = FAMILIES[family](style.part("design"))
    for kind in kinds:
        if pair.task not in kind.tasks:
            raise Unsuitable(f"{kind.name}: {pair.task}")
        kind.prepare(pair, style.part(kind.name))
    _layouts(pair, style)
    _also(pair)
    variants = {"correct": pair}
    faulty = copy.deepcopy(pair)
    nodes = [kind.apply(faulty, style.part(kind.name)) for kind in kinds]
    variants["as written"] = faulty
    if len(kinds) == 2:
        for left, name in ((1, "without 1"), (0, "without 2")):
            variant = copy.deepcopy(pair)
            kinds[left].apply(variant, style.part(kinds[left].name))
            variants[name] = variant
    programs = write(variants, style)
    if kinds and _same_text(programs):
        raise Unsuitable("the fault changes nothing")
    arrays = batch(pair, seed)
    return Drawn(variants, kinds, nodes, programs, arrays, _loaded(pair, programs, seed), seed)


def _layouts(pair: Pair, style: Style) -> None:
    """Choose where the PyTorch side moves the channels to the front."""
    if pair.family == "series" and style.chance("layout in forward", 0.6):
        pair.torch.forms["layout"] = "forward"


def _same_text(programs: dict[str, Programs]) -> bool:
    faulty, correct = programs["as written"], programs["correct"]
    return all(faulty[name].text == correct[name].text for name in faulty)


def write(variants: dict[str, Pair], style: Style) -> dict[str, Programs]:
    """Return the programs of all variants, written in the same form."""
    written: dict[str, Programs] = {name: {} for name in variants}
    for framework, forms, writer in (
        ("torch", torch_model.forms, torch_writer.write),
        ("keras", keras_model.forms, keras_writer.write),
    ):
        part = style.part(framework)
        lists = [forms(pair, pair.side(framework), part) for pair in variants.values()]
        form = next(form for form in lists[0] if all(form in other for other in lists))
        for name, pair in variants.items():
            side = pair.side(framework)
            if framework == "keras" and side.loading is not None:
                torch = written[name]["torch"]
                side.loading["names"] = {place.key: place.path for place in torch.places}
            written[name][framework] = writer(pair, side, part, form)
    return written


def _also(pair: Pair) -> None:
    """List the harmless differences that the pair has."""
    ids = {
        "dense": ("D01", "D02"), "conv2d": ("D03",), "conv1d": ("D03",), "embedding": ("D04",),
        "attention": ("D07",), "lstm": ("D08",), "gru": ("D08",), "dropout": ("D86",),
        "bn": ("D20",), "flatten": ("D17",),
    }  # fmt: skip
    found: set[str] = set(pair.also)
    for node in pair.torch.walk():
        found.update(ids.get(node.kind, ()))
    if pair.torch.loading is not None:
        found -= {"D01", "D02", "D03", "D04", "D07", "D08", "D17", "D20"}
    pair.also = sorted(found)


def _loaded(pair: Pair, programs: dict[str, Programs], seed: str) -> Arrays | None:
    if pair.torch.loading is None:
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    for place in programs["correct"]["torch"].places:
        if place.node.kind in PARAMETERS:
            shapes.update(parameter_shapes(place.node, place.path))
    return weights(shapes, seed)


def anchors(pair: Pair, programs: Programs) -> list[dict[str, object]]:
    """Return which layers of the two programs hold the same weights.

    Returns
    -------
    list of dict
        ``torch`` and ``keras`` are the layers' names, ``kind`` the kind of layer; ``flatten`` is
        the shape of the image that a dense layer reads as a row, channels last, or None.
    """
    paths = {place.key: place.path for place in programs["keras"].places}
    flat = flattened(pair.torch.nodes)
    rows: list[dict[str, object]] = []
    for place in programs["torch"].places:
        node = place.node
        by_hand = node.kind == "attention" and node["form"] == "by hand"
        if node.kind not in PARAMETERS or by_hand or place.key not in paths:
            continue
        shape = flat.get(id(node))
        rows.append({"torch": place.path, "keras": paths[place.key], "kind": node.kind,
                     "flatten": None if shape is None else list(shape)})  # fmt: skip
    return rows
