"""ONNX files in which something is changed that bytes changed at random seldom reach."""

import random
import struct
from collections.abc import Callable
from typing import Any

import onnx
from onnx import defs, helper

Proto = Any

NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 1000, 2**20, 10**9, 2**31, 2**40, 2**62)
FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))
WORDS = ("", "x", "SAME_UPPER", "VALID", "linear", "\x1b[2J\n", "../../etc/passwd", "a" * 10_000)
OPERATORS = sorted({each.name for each in defs.get_all_schemas() if each.domain == ""})
TYPES = range(26)
VERSIONS = (-1, 0, 1, 5, 9, 13, 17, 18, 21, 22, 50, 2**40)


def changed_model(content: bytes, rng: random.Random) -> bytes:
    """Return a model in which one to three things are changed."""
    model = onnx.load_model_from_string(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(CHANGES)(model, rng)
    return model.SerializeToString()


def _tensor(model: Proto, rng: random.Random) -> Proto:
    return rng.choice(model.graph.initializer or [model.graph.initializer.add()])


def _node(model: Proto, rng: random.Random) -> Proto:
    return rng.choice(model.graph.node or [model.graph.node.add()])


def _sides(model: Proto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    sides = list(tensor.dims)
    if sides and rng.random() < 0.7:
        sides[rng.randrange(len(sides))] = rng.choice(NUMBERS)
    else:
        sides.insert(0, rng.choice(NUMBERS))
    tensor.dims[:] = sides


def _type(model: Proto, rng: random.Random) -> None:
    _tensor(model, rng).data_type = rng.choice(TYPES)


def _number(model: Proto, rng: random.Random) -> None:
    """Change one number of a weight, in its four bytes."""
    tensor = _tensor(model, rng)
    raw = bytearray(tensor.raw_data)
    if len(raw) >= 4:
        at = 4 * rng.randrange(len(raw) // 4)
        raw[at : at + 4] = struct.pack("<f", rng.choice(FLOATS))
        tensor.raw_data = bytes(raw)


def _elsewhere(model: Proto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=rng.choice(("../w", "/etc/passwd", "w.bin")))


def _attribute(model: Proto, rng: random.Random) -> None:
    node = _node(model, rng)
    if not node.attribute or rng.random() < 0.2:
        name = rng.choice(("axis", "alpha", "pads", "perm", "epsilon", "kernel_shape", "to"))
        node.attribute.append(
            helper.make_attribute(name, rng.choice((rng.choice(NUMBERS), 1.5, "a")))
        )
        return
    attribute = rng.choice(node.attribute)
    choice = rng.randrange(4)
    if choice == 0:
        node.attribute.remove(attribute)
    elif choice == 1:
        node.attribute.append(attribute)
    elif attribute.ints and choice == 2:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    else:
        attribute.i = rng.choice(NUMBERS)
        attribute.f = rng.choice(FLOATS)
        attribute.s = rng.choice(WORDS).encode()


def _operator(model: Proto, rng: random.Random) -> None:
    node = _node(model, rng)
    node.op_type = rng.choice(OPERATORS)
    if rng.random() < 0.5:
        del node.attribute[:]


def _wire(model: Proto, rng: random.Random) -> None:
    node = _node(model, rng)
    names = [name for each in model.graph.node for name in (*each.input, *each.output)]
    names += [*(each.name for each in model.graph.initializer), "", "nowhere"]
    if node.input and rng.random() < 0.7:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif rng.random() < 0.5:
        node.input.append(rng.choice(names))
    elif node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice(names)


def _order(model: Proto, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    choice = rng.randrange(3)
    if choice == 0:
        rng.shuffle(nodes)
    elif choice == 1 and nodes:
        nodes.append(rng.choice(nodes))
    elif nodes:
        nodes.remove(rng.choice(nodes))
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _twice(model: Proto, rng: random.Random) -> None:
    copy = onnx.TensorProto.FromString(_tensor(model, rng).SerializeToString())
    model.graph.initializer.append(copy)


def _input(model: Proto, rng: random.Random) -> None:
    kind = rng.choice((*model.graph.input, *model.graph.output)).type
    choice = rng.randrange(4)
    if choice == 0:
        kind.tensor_type.elem_type = rng.choice(TYPES)
    elif choice == 1 and kind.tensor_type.shape.dim:
        rng.choice(kind.tensor_type.shape.dim).dim_value = rng.choice(NUMBERS)
    elif choice == 2:
        kind.sequence_type.elem_type.tensor_type.elem_type = 1
    else:
        kind.Clear()


def _version(model: Proto, rng: random.Random) -> None:
    if rng.random() < 0.5:
        model.ir_version = rng.choice(VERSIONS)
    else:
        model.opset_import.add(domain=rng.choice(("", "ai.onnx.ml")), version=rng.choice(VERSIONS))


def _name(model: Proto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    before = tensor.name
    tensor.name = rng.choice(WORDS)
    for node in model.graph.node:
        node.input[:] = [tensor.name if name == before else name for name in node.input]


CHANGES: tuple[Callable[[Proto, random.Random], None], ...] = (
    _sides,
    _type,
    _number,
    _elsewhere,
    _attribute,
    _attribute,
    _operator,
    _operator,
    _wire,
    _order,
    _twice,
    _input,
    _version,
    _name,
)
