"""TensorFlow Serving's REST protocol: its documented requests, ovmsclient and curl."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.serving import RunningServer, reference_logits

pytestmark = pytest.mark.process

ROUNDING = 1e-6  # of logits near 1 in float32


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("path", "run"),
    [
        ("small", "second"),
        ("small/versions/1", "first"),
        ("small/versions/2", "second"),
        ("small/versions/0", "second"),
        ("conv", "convolution"),
    ],
)
def test_logits_are_those_of_the_reference(
    server: RunningServer, runs: Path, images: np.ndarray, path: str, run: str
):
    answer = server.ask(f"/v1/models/{path}:predict", {"instances": images.tolist()})
    assert answer.status == 200
    assert list(answer.json) == ["predictions"]
    expected = reference_logits(runs / run, images)
    np.testing.assert_allclose(answer.json["predictions"], expected, atol=ROUNDING)


def test_each_form_of_a_request_gives_the_same(server: RunningServer, images: np.ndarray):
    def ask(request: dict) -> tuple[str, list]:
        answer = server.ask("/v1/models/small:predict", request)
        assert answer.status == 200, answer.body
        ((key, rows),) = answer.json.items()
        return key, rows

    rows = images.tolist()
    key, expected = ask({"instances": rows})
    assert key == "predictions"
    assert len(expected) == len(images)
    assert ask({"instances": [{"images": image} for image in rows]}) == ("predictions", expected)
    assert ask({"inputs": rows}) == ("outputs", expected)
    assert ask({"inputs": {"images": rows}}) == ("outputs", expected)
    named = {"instances": rows, "signature_name": "serving_default"}
    assert ask(named) == ("predictions", expected)


def test_probabilities_are_a_signature(server: RunningServer, runs: Path, images: np.ndarray):
    request = {"instances": images.tolist(), "signature_name": "probabilities"}
    answer = server.ask("/v1/models/conv:predict", request)
    expected = softmax(reference_logits(runs / "convolution", images))
    np.testing.assert_allclose(answer.json["predictions"], expected, atol=ROUNDING)


def test_the_status_of_a_model(server: RunningServer):
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    all_versions = [{"version": "1"} | available, {"version": "2"} | available]
    answer = server.ask("/v1/models/small")
    assert answer.json == {"model_version_status": all_versions}
    for version, expected in (("1", all_versions[:1]), ("0", all_versions[1:])):
        answer = server.ask(f"/v1/models/small/versions/{version}")
        assert answer.json == {"model_version_status": expected}


def test_the_metadata_of_a_model(server: RunningServer):
    described = server.ask("/v1/models/small/metadata").json
    assert described["model_spec"] == {"name": "small", "signature_name": "", "version": "2"}
    signatures = described["metadata"]["signature_def"]["signature_def"]
    assert list(signatures) == ["serving_default", "probabilities"]
    images = signatures["serving_default"]["inputs"]["images"]
    assert images["dtype"] == "DT_FLOAT"
    assert [d["size"] for d in images["tensor_shape"]["dim"]] == ["-1", "4", "3", "1"]
    assert list(signatures["serving_default"]["outputs"]) == ["logits"]
    assert list(signatures["probabilities"]["outputs"]) == ["probabilities"]


def test_all_models_are_listed(server: RunningServer):
    listed = {model["name"]: model["versions"] for model in server.ask("/v1/models").json["models"]}
    assert {name: len(versions) for name, versions in listed.items()} == {
        "small": 2,
        "conv": 1,
        "fractions": 1,
        "centred": 1,
        "table": 1,
    }
    second = listed["small"][1]
    assert second["version"] == "2"
    assert second["run"] == "second"
    assert second["input_shape"] == [4, 3, 1]
    assert second["runtime"].startswith("ONNX Runtime")
    assert listed["fractions"][0]["box"] == 3
    assert "box" not in second
    assert "box" not in listed["centred"][0]  # what is recorded there is no number


def test_ovmsclient_works_unchanged(server: RunningServer, runs: Path, images: np.ndarray):
    ovmsclient = pytest.importorskip("ovmsclient")
    client = ovmsclient.make_http_client(server.address)
    with client.session:
        logits = client.predict({"images": images}, "small")
        np.testing.assert_allclose(logits, reference_logits(runs / "second", images), atol=ROUNDING)
        first = client.predict({"images": images}, "small", 1)
        np.testing.assert_allclose(first, reference_logits(runs / "first", images), atol=ROUNDING)
        status = client.get_model_status("small")
        assert status[2]["state"] == "AVAILABLE"
        assert client.get_model_metadata("conv")["model_spec"]["name"] == "conv"
        with pytest.raises(Exception, match="there is no model 'other'"):
            client.get_model_status("other")


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_as_in_the_documentation_of_tensorflow_serving(
    server: RunningServer, images: np.ndarray
):
    """https://www.tensorflow.org/tfx/serving/api_rest, with our model's name and shape."""

    def curl(*arguments: str) -> dict:
        command = ["curl", "--silent", "--fail-with-body", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    assert "model_version_status" in curl(f"{server.url}/v1/models/small")
    assert "metadata" in curl(f"{server.url}/v1/models/small/versions/1/metadata")
    body = json.dumps({"instances": images.tolist()})
    row = curl("-d", body, "-X", "POST", f"{server.url}/v1/models/small:predict")
    assert len(row["predictions"]) == len(images)
    column = curl(
        *("-d", json.dumps({"inputs": images.tolist()})),
        f"{server.url}/v1/models/small/versions/2:predict",
    )
    assert column["outputs"] == row["predictions"]
