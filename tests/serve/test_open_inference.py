"""The Open Inference Protocol: by hand, and with Triton's client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.serving import RunningServer, reference_logits

pytestmark = pytest.mark.process

ROUNDING = 1e-6  # of logits near 1 in float32


def tensor(images: np.ndarray, **changes: Any) -> dict[str, Any]:
    """An input, in JSON."""
    return {
        "name": "images",
        "datatype": "FP32",
        "shape": list(images.shape),
        "data": images.ravel().tolist(),
    } | changes


def test_health_and_metadata(server: RunningServer):
    assert server.ask("/v2/health/live").json == {"live": True}
    assert server.ask("/v2/health/ready").json == {"ready": True}
    assert server.ask("/v2/models/small/ready").json == {"name": "small", "ready": True}
    assert server.ask("/v2/models/small/versions/1/ready").status == 200
    assert server.ask("/v2/models/small/versions/3/ready").status == 404
    assert server.ask("/v2").json["extensions"] == ["binary_tensor_data"]
    described = server.ask("/v2/models/small").json
    assert described["versions"] == ["1", "2"]
    assert described["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 4, 3, 1]}]
    assert [output["name"] for output in described["outputs"]] == ["logits", "probabilities"]


def test_json_gives_the_values_of_the_reference(
    server: RunningServer, runs: Path, images: np.ndarray
):
    request = {"id": "7", "inputs": [tensor(images)]}
    answer = server.ask("/v2/models/conv/infer", request).json
    assert answer["id"] == "7"
    assert (answer["model_name"], answer["model_version"]) == ("conv", "1")
    logits, probabilities = answer["outputs"]
    assert logits["shape"] == probabilities["shape"] == [5, 3]
    expected = reference_logits(runs / "convolution", images)
    np.testing.assert_allclose(logits["data"], expected.ravel(), atol=ROUNDING)
    assert sum(probabilities["data"]) == pytest.approx(5)
    nested = {"inputs": [tensor(images, data=images.tolist())]}
    assert server.ask("/v2/models/conv/infer", nested).json["outputs"] == answer["outputs"]


def test_bytes_are_divided_by_255(server: RunningServer, runs: Path, images: np.ndarray):
    pixels = np.random.default_rng(3).integers(0, 256, images.shape, np.uint8)
    request = {"inputs": [tensor(pixels, datatype="UINT8")], "outputs": [{"name": "logits"}]}
    (logits,) = server.ask("/v2/models/conv/infer", request).json["outputs"]
    expected = reference_logits(runs / "convolution", pixels)
    np.testing.assert_allclose(logits["data"], expected.ravel(), atol=ROUNDING)
    header = json.dumps(
        {"inputs": [_without_data(pixels, "UINT8")], "outputs": request["outputs"]}
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    answer = server.ask("/v2/models/conv/infer", header + pixels.tobytes(), headers)
    assert answer.json["outputs"] == [logits]


def _without_data(array: np.ndarray, datatype: str) -> dict[str, Any]:
    described = tensor(array, datatype=datatype, parameters={"binary_data_size": array.nbytes})
    del described["data"]
    return described


def test_binary_tensors_are_the_same_numbers(server: RunningServer, images: np.ndarray):
    plain = server.ask("/v2/models/small/infer", {"inputs": [tensor(images)]}).json["outputs"]
    header = json.dumps(
        {
            "inputs": [_without_data(images, "FP32")],
            "outputs": [
                {"name": "probabilities", "parameters": {"binary_data": True}},
                {"name": "logits"},
            ],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    answer = server.ask("/v2/models/small/infer", header + images.tobytes(), headers)
    length = int(answer.headers["inference-header-content-length"])
    probabilities, logits = json.loads(answer.body[:length])["outputs"]
    assert logits == plain[0]
    assert probabilities["parameters"] == {"binary_data_size": 5 * 3 * 4}
    numbers = np.frombuffer(answer.body[length:], "<f4")
    np.testing.assert_array_equal(numbers, np.float32(plain[1]["data"]))


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Any]:
    """Triton's client, connected to the server."""
    triton = pytest.importorskip("tritonclient.http")
    with triton.InferenceServerClient(server.address) as connected:
        yield connected


def test_tritonclient_sees_the_server(client: Any):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "2")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "triptych"
    assert client.get_model_metadata("small", "1")["platform"] == "onnxruntime_onnx"


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False, None])
def test_tritonclient_infers(
    client: Any, runs: Path, images: np.ndarray, binary_input: bool, binary_output: bool | None
):
    triton = pytest.importorskip("tritonclient.http")
    given = triton.InferInput("images", images.shape, "FP32")
    given.set_data_from_numpy(images, binary_data=binary_input)
    outputs = None
    if binary_output is not None:
        outputs = [triton.InferRequestedOutput("logits", binary_data=binary_output)]
    result = client.infer("small", [given], "1", outputs, request_id="a")
    expected = reference_logits(runs / "first", images)
    np.testing.assert_allclose(result.as_numpy("logits"), expected, atol=ROUNDING)
    assert result.get_response()["id"] == "a"


def test_tritonclient_gets_a_clear_error(client: Any, images: np.ndarray):
    triton = pytest.importorskip("tritonclient.http")
    wrong = triton.InferInput("pixels", images.shape, "FP32")
    wrong.set_data_from_numpy(images)
    with pytest.raises(Exception, match="there is no input 'pixels'; the input is 'images'"):
        client.infer("small", [wrong])
