"""The OpenAPI description of a server: one path for each model that it serves."""

from typing import Any

from ..exporting.model import INPUT
from ..spec.network import Network
from ..version import __version__
from .models import OUTPUTS, ModelRepository, ServedModel
from .open_inference import BYTE, FLOAT, HEADER_LENGTH
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
    network = model.loaded.network
    tensorflow = f"/v1/models/{name}{version}"
    inference = f"/v2/models/{name}{version}"
    return {
        tensorflow: {"get": _get("Show the status", OBJECT)},
        f"{tensorflow}/metadata": {"get": _get("Show inputs and outputs", OBJECT)},
        f"{tensorflow}:predict": {
            "post": _post("Classify images", _predict_request(network), _predict_answer(network))
        },
        inference: {"get": _get("Show inputs and outputs", OBJECT)},
        f"{inference}/ready": {"get": _get("Tell that the model can be asked", OBJECT)},
        f"{inference}/infer": {
            "post": _post("Classify images", _infer_request(network), _infer_answer(), binary=True)
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


def _image(network: Network) -> dict[str, Any]:
    """Return the schema of one image: lists in lists."""
    schema: dict[str, Any] = {"type": "number"}
    for size in reversed(network.input_shape):
        schema = _array(schema, size)
    return schema


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _predict_request(network: Network) -> dict[str, Any]:
    """Return the schema of a request to ``:predict``."""
    image = _image(network)
    named = _object({INPUT: image}, INPUT) | CLOSED
    column = _object({INPUT: _array(image)}, INPUT) | CLOSED
    signature = {"type": "string", "enum": ["", *SIGNATURES]}
    rows = {"anyOf": [_array(image), _array(named)]}
    columns = {"anyOf": [_array(image), column]}
    return {
        "oneOf": [
            _object({"instances": rows, "signature_name": signature}, "instances"),
            _object({"inputs": columns, "signature_name": signature}, "inputs"),
        ]
    }


def _predict_answer(network: Network) -> dict[str, Any]:
    """Return the schema of an answer of ``:predict``."""
    rows = _array(_array({"type": "number"}, network.classes))
    return {
        "oneOf": [
            _object({"predictions": rows}, "predictions"),
            _object({"outputs": rows}, "outputs"),
        ]
    }


def _infer_request(network: Network) -> dict[str, Any]:
    """Return the schema of a request to ``/infer``, in JSON alone."""
    count = {"type": "integer", "minimum": 1}
    sizes = [{"const": size} for size in network.input_shape]
    length = len(sizes) + 1
    shape = {
        "type": "array",
        "prefixItems": [count, *sizes],
        "minItems": length,
        "maxItems": length,
    }
    tensor = _object(
        {
            "name": {"const": INPUT},
            "datatype": {"enum": [FLOAT, BYTE]},
            "shape": shape,
            "data": _array({"anyOf": [{"type": "number"}, _image(network)]}),
            "parameters": OBJECT,
        },
        "name",
        "datatype",
        "shape",
        "data",
    )
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
            "inputs": _array(tensor, 1),
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
