"""A model repository for Triton Inference Server and KServe: an ONNX model and its configuration.

At an export Triton itself is not run. The model is run by ONNX Runtime, which Triton uses as well,
and the configuration is parsed and compared with the model. A test has Triton read a repository.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import TriptychError, one_line
from .model import LoadedModel, TrainedModel
from .names import INPUT, OUTPUT
from .onnx import FILE, OnnxExporter, OnnxModel
from .targets import folder_name

VERSION = "1"
CONFIGURATION = "config.pbtxt"
LABELS = "labels.txt"
LARGEST_BATCH = 256
CONFIGURATION_TEXT = """\
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {batch}
input [
  {{
    name: "{input}"
    data_type: TYPE_FP32
    dims: [ {shape} ]
  }}
]
output [
  {{
    name: "{output}"
    data_type: TYPE_FP32
    dims: [ {classes} ]
    label_filename: "{labels}"
  }}
]
"""
TOKEN = re.compile(r'\s*(?:(?P<word>[A-Za-z_]\w*|-?\d+)|"(?P<text>[^"\\\n]*)"|(?P<mark>[][{}:,]))')

Message = dict[str, list[Any]]  # the values of each field, in the order of the text


class TritonExporter(OnnxExporter):
    """Writes ``NAME/config.pbtxt`` and ``NAME/1/model.onnx``."""

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the repository."""
        name = folder_name(model.network)
        version = folder / name / VERSION
        version.mkdir(parents=True)
        super().write(model, version)
        labels = "".join(f"{one_line(label)}\n" for label in model.classes)
        (folder / name / LABELS).write_text(labels, encoding="utf-8")
        text = CONFIGURATION_TEXT.format(
            name=name,
            batch=LARGEST_BATCH,
            input=INPUT,
            shape=", ".join(str(size) for size in model.network.input_shape),
            output=OUTPUT,
            classes=model.network.classes,
            labels=LABELS,
        )
        (folder / name / CONFIGURATION).write_text(text, encoding="utf-8")

    def load(self, folder: Path) -> LoadedModel:
        """Load the model in ONNX Runtime, after its configuration is checked."""
        (path,) = folder.glob(f"*/{CONFIGURATION}")
        file = path.parent / VERSION / FILE
        check_configuration(path, file)
        return OnnxModel(file)


def check_configuration(path: Path, model_file: Path) -> None:
    """Raise `TriptychError` unless a configuration describes an ONNX model.

    Parameters
    ----------
    path : Path
        The configuration, in the folder of the model.
    model_file : Path
        The ONNX model.
    """
    import onnx

    graph = onnx.load(model_file).graph
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    expected = {
        "name": [path.parent.name],
        "platform": ["onnxruntime_onnx"],
        "max_batch_size": [str(LARGEST_BATCH)],
        "input": [_tensor(graph.input[0])],
        "output": [_tensor(graph.output[0]) | {"label_filename": [LABELS]}],
    }
    configured = parse(path.read_text(encoding="utf-8"))
    if configured != expected:
        differing = [key for key in expected if configured.get(key) != expected[key]]
        raise TriptychError(f"{path}: does not describe the model ({', '.join(differing)})")
    labels = (path.parent / LABELS).read_text(encoding="utf-8").splitlines()
    if len(labels) != classes:
        raise TriptychError(f"{path.parent / LABELS}: {len(labels)} labels for {classes} classes")


def _tensor(value: Any) -> Message:
    """Return what the configuration has to hold of an input or an output of an ONNX graph."""
    tensor = value.type.tensor_type
    if tensor.elem_type != 1:  # TensorProto.FLOAT
        raise TriptychError(f"the model's {value.name} is not float32")
    batch, *sizes = tensor.shape.dim
    if not batch.dim_param:
        raise TriptychError(f"the model's {value.name} has batches of a fixed size")
    return {
        "name": [value.name],
        "data_type": ["TYPE_FP32"],
        "dims": [str(size.dim_value) for size in sizes],
    }


def parse(text: str) -> Message:
    """Return the fields of a message in protobuf's text format, of which the usual part is known.

    Raises
    ------
    TriptychError
        If the text is something else.
    """
    return _parse_fields(_tokens(text), "")


def _tokens(text: str) -> Iterator[str]:
    """Yield words and marks as they are, and quoted text with a quotation mark before it."""
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise TriptychError(f"the configuration has a mistake at {text[at : at + 20]!r}")
        at = match.end()
        quoted = match["text"]
        yield match["word"] or match["mark"] or f'"{quoted}'
    yield ""


def _parse_fields(tokens: Iterator[str], end: str) -> Message:
    """Return the fields up to a mark."""
    message: Message = {}
    while (name := next(tokens)) != end:
        if not name.isidentifier():
            raise TriptychError(f"the configuration has {name!r} in the place of a field's name")
        values = message.setdefault(name, [])
        mark = next(tokens)
        if mark == ":":
            mark = next(tokens)
        if mark == "[":
            values += _parse_list(tokens)
        else:
            values.append(_parse_value(tokens, mark))
    return message


def _parse_list(tokens: Iterator[str]) -> list[Any]:
    """Return the values up to the end of a list."""
    values: list[Any] = []
    while (token := next(tokens)) != "]":
        if token != ",":
            values.append(_parse_value(tokens, token))
    return values


def _parse_value(tokens: Iterator[str], first: str) -> Any:
    """Return a message, or a number, a word or quoted text as text."""
    if first == "{":
        return _parse_fields(tokens, "}")
    if not first or first in "]}:,":
        raise TriptychError(f"the configuration has {first!r} in the place of a value")
    return first.removeprefix('"')
