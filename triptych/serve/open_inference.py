"""The Open Inference Protocol, version 2: requests and answers, in JSON and with binary tensors.

Triton, KServe and OpenVINO's server speak it as well.
https://github.com/kserve/open-inference-protocol, and for binary tensors Triton's extension.
"""

import json
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exporting.names import INPUT
from ..spec.validation import is_whole
from ..version import __version__
from .errors import RequestError
from .inputs import BYTE, DTYPES, FLOAT, Input
from .models import OUTPUTS, ServedModel
from .runtimes import Floats
from .tensors import (
    bytes_of,
    check_batch,
    check_finite,
    flatten,
    floats_of,
    most_json_values,
    parse_object,
    quote,
)

HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before the binary tensors


@dataclass(frozen=True)
class Answer:
    """A response: JSON, and the bytes of the binary tensors after it.

    Attributes
    ----------
    content : bytes
        The whole body.
    json_bytes : int or None
        The length of the JSON; None if nothing follows it.
    """

    content: bytes
    json_bytes: int | None


@dataclass(frozen=True)
class RequestedOutput:
    """An output that a request asks for, and whether it is sent as bytes."""

    name: str
    binary: bool


def infer(model: ServedModel, body: bytes, json_bytes: str | None, most_images: int) -> Answer:
    """Answer a request to ``/infer``.

    Parameters
    ----------
    model : ServedModel
        The model of the URL.
    body : bytes
        JSON, with binary tensors after it if `json_bytes` is given.
    json_bytes : str or None
        The value of the header `HEADER_LENGTH`.
    most_images : int
        The largest number of images.

    Raises
    ------
    RequestError
        400 if the request is malformed.
    """
    loaded = model.loaded
    header, binary = _split_body(body, json_bytes)
    request = parse_object(header, most_json_values(loaded.network.input_shape, most_images))
    outputs = _requested_outputs(request)
    identifier = request.get("id", "")
    if not isinstance(identifier, str):
        raise RequestError(400, f"'id' must be a text, not {quote(identifier)}")
    images = _images(request, binary, loaded.inputs, most_images)
    answer = {"model_name": model.name, "model_version": str(model.version)}
    if identifier:
        answer["id"] = identifier
    return _answer(answer, outputs, loaded.predict(images))


def _split_body(body: bytes, json_bytes: str | None) -> tuple[memoryview, memoryview]:
    """Return the JSON and the binary tensors of a body."""
    content = memoryview(body)
    if json_bytes is None:
        return content, content[:0]
    length = int(json_bytes) if json_bytes.isascii() and json_bytes.isdigit() else None
    if length is None or len(json_bytes) > 12 or length > len(body):
        raise RequestError(
            400,
            f"{HEADER_LENGTH}: {quote(json_bytes)} is no length of JSON in a body of "
            f"{len(body):,} bytes",
        )
    return content[:length], content[length:]


def _images(
    request: dict[str, Any], binary: memoryview, inputs: dict[str, Input], most: int
) -> Floats:
    """Return the images of a request as the network takes them, shape (n, h, w, c)."""
    given = request.get("inputs")
    known = " or ".join(map(repr, inputs))
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
        raise RequestError(400, f"'inputs' must be a list with one tensor, {known}")
    (tensor,) = given
    name = tensor.get("name")
    if not isinstance(name, str) or name not in inputs:
        raise RequestError(400, f"there is no input {quote(name)}; the input is {known}")
    expected = inputs[name]
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in expected.datatypes:
        known = " or ".join(expected.datatypes)
        raise RequestError(400, f"{name!r} must have the datatype {known}, not {quote(datatype)}")
    count = _count(tensor.get("shape"), expected, most)
    flat = _flat_images(tensor, binary, count, expected, datatype)
    return expected.prepare(flat.reshape(count, *expected.shape))


def _count(given: Any, expected: Input, most: int) -> int:
    """Return the number of images of a tensor's shape; raise `RequestError` if it does not fit."""
    whole = isinstance(given, list) and all(map(is_whole, given))
    where = repr(expected.name)
    if not whole or not given or tuple(given[1:]) != expected.shape:
        wanted = ", ".join(map(str, expected.shape))
        shown = quote(given)
        if whole and len(given) <= 8:
            shown = quote(str(given))
        raise RequestError(400, f"{where} must have the shape [n, {wanted}], not {shown}")
    check_batch(given[0], most, where)
    return given[0]


def _flat_images(
    tensor: dict[str, Any], binary: memoryview, count: int, expected: Input, datatype: str
) -> NDArray[Any]:
    """Return the numbers of a tensor, in one dimension and in its datatype; all are finite."""
    where = repr(expected.name)
    size = _parameters(tensor).get("binary_data_size")
    if size is None and binary:
        raise RequestError(400, "bytes follow the JSON, but no input has 'binary_data_size'")
    if size is not None and "data" in tensor:
        raise RequestError(400, f"{where} has both 'data' and 'binary_data_size'")
    numbers = count * prod(expected.shape)
    dtype = DTYPES[datatype]
    if size is not None:
        needed = numbers * dtype.itemsize
        if not is_whole(size) or size != needed or len(binary) != needed:
            raise RequestError(
                400,
                f"{where} of this shape has {needed:,} bytes; 'binary_data_size' is "
                f"{quote(size)}, and {len(binary):,} bytes follow the JSON",
            )
        array = np.frombuffer(binary, dtype)
        check_finite(array, where)
        return array
    flat = tensor.get("data")
    if isinstance(flat, list) and flat and isinstance(flat[0], list):
        flat = flatten(flat, expected, count, "'data'")
    if not isinstance(flat, list) or len(flat) != numbers:
        length = f"{len(flat):,} numbers" if isinstance(flat, list) else quote(flat)
        raise RequestError(400, f"'data' of this shape must be {numbers:,} numbers, not {length}")
    return bytes_of(flat, "'data'") if datatype == BYTE else floats_of(flat, dtype, "'data'")


def _requested_outputs(request: dict[str, Any]) -> list[RequestedOutput]:
    """Return the outputs that a request asks for; all of them if it names none."""
    binary = _flag(_parameters(request), "binary_data_output", False)
    given = request.get("outputs", [])
    if given == []:
        return [RequestedOutput(name, binary) for name in OUTPUTS]
    if not isinstance(given, list) or not all(isinstance(output, dict) for output in given):
        raise RequestError(400, "'outputs' must be a list of objects")
    requested: list[RequestedOutput] = []
    for output in given:
        name = output.get("name")
        parameters = _parameters(output)
        if name not in OUTPUTS:
            known = " and ".join(OUTPUTS)
            raise RequestError(400, f"there is no output {quote(name)}; the outputs are {known}")
        if any(name == earlier.name for earlier in requested):
            raise RequestError(400, f"the output {quote(name)} is requested twice")
        if "classification" in parameters:
            raise RequestError(400, "the extension 'classification' is not supported")
        requested.append(RequestedOutput(name, _flag(parameters, "binary_data", binary)))
    return requested


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request or a tensor."""
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError(400, f"'parameters' must be an object, not {quote(parameters)}")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(400, f"the parameter {name!r} must be true or false, not {quote(value)}")
    return value


def _answer(
    answer: dict[str, Any], outputs: list[RequestedOutput], results: dict[str, Floats]
) -> Answer:
    """Return the response with the outputs that were asked for."""
    described: list[dict[str, Any]] = []
    tensors: list[bytes] = []
    for output in outputs:
        array = results[output.name]
        tensor: dict[str, Any] = {
            "name": output.name,
            "datatype": FLOAT,
            "shape": list(array.shape),
        }
        if output.binary:
            content = array.astype("<f4").tobytes()
            tensor["parameters"] = {"binary_data_size": len(content)}
            tensors.append(content)
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    header = json.dumps(answer | {"outputs": described}).encode()
    return Answer(b"".join([header, *tensors]), len(header) if tensors else None)


def server_metadata() -> dict[str, Any]:
    """Return the name of the server and what it can do beyond the protocol."""
    return {"name": "triptych", "version": __version__, "extensions": ["binary_tensor_data"]}


def metadata(model: ServedModel, versions: int) -> dict[str, Any]:
    """Return inputs and outputs of a model, which has this many versions."""
    network = model.loaded.network
    return {
        "name": model.name,
        "versions": [str(number + 1) for number in range(versions)],
        "platform": model.loaded.runtime.platform,
        "inputs": [_tensor_metadata(INPUT, network.input_shape)],
        "outputs": [_tensor_metadata(name, (network.classes,)) for name in OUTPUTS],
    }


def _tensor_metadata(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": FLOAT, "shape": [-1, *shape]}
