"""TensorFlow Serving's REST protocol: requests and answers as plain data.

A client of a TensorFlow Serving that serves the export ``saved-model`` of the same run sends the
same requests and gets the same answers. https://www.tensorflow.org/tfx/serving/api_rest
"""

from typing import Any

from ..exporting.names import INPUT
from .errors import RequestError
from .inputs import DTYPES, Input
from .models import LOGITS, PROBABILITIES, ServedModel
from .tensors import flatten, floats_of, most_json_values, parse_object, quote

DEFAULT_SIGNATURE = "serving_default"
# The output of each signature. The first one is that of the exported SavedModel.
SIGNATURES = {DEFAULT_SIGNATURE: LOGITS, PROBABILITIES: PROBABILITIES}


def predict(model: ServedModel, body: bytes, most_images: int) -> dict[str, Any]:
    """Answer a request to ``:predict``.

    Parameters
    ----------
    model : ServedModel
        The model of the URL.
    body : bytes
        A JSON object with ``instances`` (row format) or ``inputs`` (column format), and
        ``signature_name`` where the output is not to be the logits.
    most_images : int
        The largest number of images.

    Returns
    -------
    dict
        ``predictions`` for ``instances``, ``outputs`` for ``inputs``: for each image a list with
        one number for each class.

    Raises
    ------
    RequestError
        400 if the request is malformed.
    """
    loaded = model.loaded
    request = parse_object(body, most_json_values(loaded.network.input_shape, most_images))
    output = SIGNATURES[_signature(request)]
    if ("instances" in request) == ("inputs" in request):
        raise RequestError(400, "the request must have one of 'instances' and 'inputs'")
    if "instances" in request:
        key = "predictions"
        expected, samples = _instances(request["instances"], loaded.inputs)
    else:
        key = "outputs"
        expected, samples = _column(request["inputs"], loaded.inputs)
    where = repr(expected.name)
    numbers = flatten(samples, expected, most_images, where)
    floats = floats_of(numbers, DTYPES[expected.datatypes[0]], where)
    prepared = expected.prepare(floats.reshape(-1, *expected.shape))
    return {key: loaded.predict(prepared)[output].tolist()}


def _signature(request: dict[str, Any]) -> str:
    """Return the name of the signature that a request asks for."""
    name = request.get("signature_name", "")
    if name == "":
        return DEFAULT_SIGNATURE
    if not isinstance(name, str) or name not in SIGNATURES:
        known = ", ".join(SIGNATURES)
        raise RequestError(400, f"there is no signature {quote(name)}; there are: {known}")
    return name


def _instances(instances: Any, inputs: dict[str, Input]) -> tuple[Input, Any]:
    """Return the input and the samples of the row format.

    It is a list of samples, or of objects with one sample each under the name of the input.
    """
    if not isinstance(instances, list):
        raise RequestError(400, f"'instances' must be a list, not {quote(instances)}")
    if not any(isinstance(instance, dict) for instance in instances):
        return inputs[INPUT], instances
    named = [_named(instance, "an instance", inputs) for instance in instances]
    expected = named[0][0]
    if any(each is not expected for each, _ in named):
        raise RequestError(400, "all instances must have the same name")
    return expected, [sample for _, sample in named]


def _column(column: Any, inputs: dict[str, Input]) -> tuple[Input, Any]:
    """Return the input and the samples of the column format: as they are, or under a name."""
    if isinstance(column, dict):
        return _named(column, "'inputs'", inputs)
    return inputs[INPUT], column


def _named(value: Any, where: str, inputs: dict[str, Input]) -> tuple[Input, Any]:
    """Return the input that an object names, and what it holds under this name."""
    names = list(value) if isinstance(value, dict) else []
    if len(names) != 1 or names[0] not in inputs:
        known = " or ".join(map(repr, inputs))
        raise RequestError(400, f"{where} must be an object with the one name {known}")
    return inputs[names[0]], value[names[0]]


def status(versions: list[ServedModel]) -> dict[str, Any]:
    """Return the status of versions of a model."""
    return {
        "model_version_status": [
            {
                "version": str(model.version),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
            for model in versions
        ]
    }


def metadata(model: ServedModel) -> dict[str, Any]:
    """Return inputs and outputs of a model, as TensorFlow Serving describes them."""
    network = model.loaded.network
    images = _tensor_info(network.input_shape, INPUT)
    signatures = {
        signature: {
            "inputs": {INPUT: images},
            "outputs": {output: _tensor_info((network.classes,), output)},
            "method_name": "tensorflow/serving/predict",
        }
        for signature, output in SIGNATURES.items()
    }
    return {
        "model_spec": {
            "name": model.name,
            "signature_name": "",
            "version": str(model.version),
        },
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor_info(shape: tuple[int, ...], name: str) -> dict[str, Any]:
    """Return a float32 tensor with a batch of any size, as in a signature."""
    dimensions = [{"size": str(size), "name": ""} for size in (-1, *shape)]
    return {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": f"{name}:0",
    }
