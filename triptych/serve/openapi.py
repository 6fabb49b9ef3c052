"""The OpenAPI description of a server: one path for each model that it serves."""

from typing import Any

from ..exporting.names import INPUT
from ..version import __version__
from .inputs import BYTE, FLOAT, Input
from .models import OUTPUTS, ModelRepository, ServedModel
from .open_inference import HEADER_LENGTH
from .reading import Description
from .tensorflow_serving import SIGNATURES

JSON = "application/json"
BYTES = "application/octet-stream"
TEXT = {"type": "string"}
OBJECT: dict[str, Any] = {"type": "object"}
CLOSED = {"additionalProperties": False}  # of an object that has no other properties
REFUSALS = {
    400: "The request is malformed.",
    401: "The access token is missing or wrong.",
    404: "There is no such model.",
    408: "The request did not arrive in time.",
    413: "The body is too long.",
    415: "The body is compressed.",
    500: "The server has failed.",
    503: "The server has too many requests; try again.",
    504: "The answer was not computed in time.",
}
BINARY_TENSORS = (
    "The numbers of 'data' are those of all images, in one list or in nested lists. Tensors can "
    f"also be sent as bytes after the JSON, whose length is then in the header {HEADER_LENGTH}."
)
COMMON_REFUSALS = (401, 503)  # of every operation
POST_REFUSALS = (400, 401, 408, 413, 415, 500, 503, 504)


def describe(models: ModelRepository, *, needs_token: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    Parameters
    ----------
    models : ModelRepository
        What is served now; the shapes of images are part of the document.
    needs_token : bool
        Whether clients must send an access token.
    """
    paths = {
        "/v1/models": {"get": _get("List all models", OBJECT)},
        "/v2": {"get": _get("Describe the server", OBJECT)},
        "/v2/health/live": {"get": _health("Tell that the server answers")},
        "/v2/health/ready": {"get": _health("Tell that all models can be asked")},
        "/metrics": {"get": _get("Metrics for Prometheus", TEXT, "text/plain")},
    }
    for name, versions in models.models.items():
        paths |= _paths_of(name, versions[-1], "")
        for model in versions:
            paths |= _paths_of(name, model, f"/versions/{model.version}")
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "triptych serve",
            "version": __version__,
            "description": "TensorFlow Serving's REST protocol (/v1) and the Open Inference "
            "Protocol (/v2) for trained networks.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _object({"error": TEXT}, "error") | CLOSED}},
    }
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _paths_of(name: str, model: ServedModel, version: str) -> dict[str, Any]:
    """Return the paths of a model, or of a version of it."""
    loaded = model.loaded
    tensorflow = f"/v1/models/{name}{version}"
    inference = f"/v2/models/{name}{version}"
    return {
        tensorflow: {"get": _get("Show the status", OBJECT)},
        f"{tensorflow}/metadata": {"get": _get("Show inputs and outputs", OBJECT)},
        f"{tensorflow}:predict": {
            "post": _post(
                "Classify images", _predict_request(loaded.inputs), _predict_answer(loaded.network)
            )
        },
        inference: {"get": _get("Show inputs and outputs", OBJECT)},
        f"{inference}/ready": {"get": _get("Tell that the model can be asked", OBJECT)},
        f"{inference}/infer": {
            "post": _post(
                "Classify images", _infer_request(loaded.inputs), _infer_answer(), binary=True
            )
            | {"description": BINARY_TENSORS}
        },
    }


def _get(summary: str, schema: dict[str, Any], media_type: str = JSON) -> dict[str, Any]:
    content = {media_type: {"schema": schema}}
    return {"summary": summary, "responses": _responses(content, COMMON_REFUSALS)}


def _health(summary: str) -> dict[str, Any]:
    """Return an operation that needs no token, and is never refused."""
    content = {JSON: {"schema": OBJECT}}
    return {"summary": summary, "responses": _responses(content, ()), "security": []}


def _post(
    summary: str, request: dict[str, Any], answer: dict[str, Any], *, binary: bool = False
) -> dict[str, Any]:
    content: dict[str, Any] = {JSON: {"schema": answer}}
    if binary:
        content[BYTES] = {}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {JSON: {"schema": request}}},
        "responses": _responses(content, POST_REFUSALS),
    }


def _responses(content: dict[str, Any], refusals: tuple[int, ...]) -> dict[str, Any]:
    """Return the answers of an operation: 200 with this content, and refusals."""
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: dict[str, Any] = {"200": {"description": "The answer.", "content": content}}
    for status in refusals:
        answers[str(status)] = {"description": REFUSALS[status], "content": error}
    return answers


def _array(items: dict[str, Any], size: int | None = None) -> dict[str, Any]:
    """Return the schema of an array, of this size or of at least one entry."""
    if size is None:
        return {"type": "array", "items": items, "minItems": 1}
    return {"type": "array", "items": items, "minItems": size, "maxItems": size}


def _number(expected: Input, datatype: str) -> dict[str, Any]:
    """Return the schema of a number of an input in one of its datatypes."""
    if datatype == BYTE:
        return {"type": "integer", "minimum": 0, "maximum": 255}
    if expected.limits is None:
        return {"type": "number"}
    return {"type": "number", "minimum": expected.limits[0], "maximum": expected.limits[1]}


def _sample(expected: Input, datatype: str) -> dict[str, Any]:
    """Return the schema of one sample: lists in lists."""
    schema = _number(expected, datatype)
    for size in reversed(expected.shape):
        schema = _array(schema, size)
    return schema


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _predict_request(inputs: dict[str, Input]) -> dict[str, Any]:
    """Return the schema of a request to ``:predict``."""
    samples = {name: _sample(each, each.datatypes[0]) for name, each in inputs.items()}
    rows = {"anyOf": [_array(samples[INPUT])]}
    columns = {"anyOf": [_array(samples[INPUT])]}
    for name, sample in samples.items():
        rows["anyOf"].append(_array(_object({name: sample}, name) | CLOSED))
        columns["anyOf"].append(_object({name: _array(sample)}, name) | CLOSED)
    signature = {"type": "string", "enum": ["", *SIGNATURES]}
    return {
        "oneOf": [
            _object({"instances": rows, "signature_name": signature}, "instances"),
            _object({"inputs": columns, "signature_name": signature}, "inputs"),
        ]
    }


def _predict_answer(network: Description) -> dict[str, Any]:
    """Return the schema of an answer of ``:predict``."""
    rows = _array(_array({"type": "number"}, network.classes))
    return {
        "oneOf": [
            _object({"predictions": rows}, "predictions"),
            _object({"outputs": rows}, "outputs"),
        ]
    }


def _tensor(expected: Input, datatype: str) -> dict[str, Any]:
    """Return the schema of an input in one of its datatypes, in JSON."""
    count = {"type": "integer", "minimum": 1}
    sizes = [{"const": size} for size in expected.shape]
    length = len(sizes) + 1
    shape = {
        "type": "array",
        "prefixItems": [count, *sizes],
        "minItems": length,
        "maxItems": length,
    }
    number = _number(expected, datatype)
    return _object(
        {
            "name": {"const": expected.name},
            "datatype": {"const": datatype},
            "shape": shape,
            "data": _array({"anyOf": [number, _sample(expected, datatype)]}),
            "parameters": OBJECT,
        },
        "name",
        "datatype",
        "shape",
        "data",
    )


def _infer_request(inputs: dict[str, Input]) -> dict[str, Any]:
    """Return the schema of a request to ``/infer``, in JSON alone."""
    tensors = [_tensor(each, datatype) for each in inputs.values() for datatype in each.datatypes]
    binary = {"type": "boolean"}
    output = _object(
        {
            "name": {"enum": list(OUTPUTS)},
            "parameters": {"type": "object", "properties": {"binary_data": binary}},
        },
        "name",
    )
    return _object(
        {
            "id": TEXT,
            "inputs": _array({"anyOf": tensors}, 1),
            "outputs": {"type": "array", "items": output},
            "parameters": {"type": "object", "properties": {"binary_data_output": binary}},
        },
        "inputs",
    )


def _infer_answer() -> dict[str, Any]:
    """Return the schema of an answer of ``/infer``, in JSON alone."""
    tensor = _object(
        {
            "name": {"enum": list(OUTPUTS)},
            "datatype": {"const": FLOAT},
            "shape": _array({"type": "integer", "minimum": 1}, 2),
            "data": _array({"type": "number"}),
        },
        "name",
        "datatype",
        "shape",
    )
    return _object(
        {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": _array(tensor)},
        "model_name",
        "model_version",
        "outputs",
    )
