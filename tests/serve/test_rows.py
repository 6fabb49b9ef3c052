"""Rows of a table: as they are in it, or standardised by the client."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.serving import RunningServer, reference_logits

pytestmark = pytest.mark.process

ROUNDING = 1e-6  # of logits near 1 in float32
MEAN = np.array([5.8, 3.1, 20_000_000.5, 1.0])
DEVIATION = np.array([0.8, 0.4, 5.0, 1.0])
# Deviations that float64 represents exactly, from means that it does not.
STANDARD = np.array([[0.5, -1.0, 2.0, 0.0], [-2.0, 0.25, -1.5, 0.0], [0.0, 0.0, 0.5, 1.0]])
RAW = MEAN + STANDARD * DEVIATION
PREDICT = "/v1/models/table:predict"
INFER = "/v2/models/table/infer"


@pytest.fixture(scope="module")
def expected(runs: Path) -> np.ndarray:
    """The logits of the reference for the standardised rows."""
    return reference_logits(runs / "table", STANDARD.reshape(3, 1, 1, 4))


def tensor(array: np.ndarray, datatype: str, **changes: Any) -> dict[str, Any]:
    data = array.ravel().tolist()
    described = {"name": "rows", "datatype": datatype, "shape": list(array.shape), "data": data}
    return described | changes


def test_rows_are_standardised_with_the_figures_of_the_training(
    server: RunningServer, expected: np.ndarray
):
    rows = RAW.tolist()
    for request in (
        {"instances": [{"rows": row} for row in rows]},
        {"inputs": {"rows": rows}},
        {"instances": STANDARD.reshape(3, 1, 1, 4).tolist()},
        {"instances": [{"images": row} for row in STANDARD.reshape(3, 1, 1, 4).tolist()]},
    ):
        answer = server.ask(PREDICT, request)
        assert answer.status == 200, answer.body
        ((_, logits),) = answer.json.items()
        np.testing.assert_allclose(logits, expected, atol=ROUNDING)
    probabilities = {"signature_name": "probabilities", "inputs": {"rows": rows}}
    sums = np.sum(server.ask(PREDICT, probabilities).json["outputs"], axis=1)
    np.testing.assert_allclose(sums, 1, atol=ROUNDING)


def test_rows_in_the_open_inference_protocol(server: RunningServer, expected: np.ndarray):
    nested = tensor(RAW, "FP64", data=RAW.tolist())
    for given in (tensor(RAW, "FP64"), nested):
        answer = server.ask(INFER, {"inputs": [given]})
        assert answer.status == 200, answer.body
        logits = answer.json["outputs"][0]["data"]
        np.testing.assert_allclose(logits, expected.ravel(), atol=ROUNDING)
    described = tensor(RAW, "FP64", parameters={"binary_data_size": RAW.nbytes})
    del described["data"]
    header = json.dumps({"inputs": [described]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    answer = server.ask(INFER, header + RAW.astype("<f8").tobytes(), headers)
    assert answer.json["outputs"][0]["data"] == logits
    narrow = server.ask(INFER, {"inputs": [tensor(RAW, "FP32")]})
    # float32 has not the digits of the third column; the server must not add to that.
    rounded = (RAW.astype(np.float32).astype(np.float64) - MEAN) / DEVIATION
    assert np.abs(rounded - STANDARD).max() > 0.05
    assert narrow.json["outputs"][0]["data"] != logits


def test_the_client_of_triton_sends_rows(server: RunningServer, expected: np.ndarray):
    triton = pytest.importorskip("tritonclient.http")
    with triton.InferenceServerClient(server.address) as client:
        given = triton.InferInput("rows", RAW.shape, "FP64")
        given.set_data_from_numpy(RAW)
        result = client.infer("table", [given])
    np.testing.assert_allclose(result.as_numpy("logits"), expected, atol=ROUNDING)


def test_the_columns_are_listed(server: RunningServer):
    models = {model["name"]: model["versions"] for model in server.ask("/v1/models").json["models"]}
    (version,) = models["table"]
    assert version["standardised"]["names"] == ["length", "width", "year", "constant"]
    assert version["standardised"]["mean"] == MEAN.tolist()
    assert "standardised" not in models["conv"][0]


BAD: list[tuple[str, Any, str]] = [
    (PREDICT, {"instances": [RAW[0].tolist()]}, "(send others under the name 'rows'); axis 1"),
    (PREDICT, {"instances": [{"rows": RAW[0, :3].tolist()}]}, "rows of shape (n, 4); axis 1 has 3"),
    (
        PREDICT,
        {"instances": [{"rows": RAW[0].tolist()}, {"images": STANDARD[:1, None, None].tolist()}]},
        "all instances must have the same name",
    ),
    (PREDICT, {"instances": [{"row": [1]}]}, "with the one name 'images' or 'rows'"),
    (PREDICT, {"instances": [{"rows": [1, 2, 1e300, 1]}]}, "'rows': row 0 (from 0) is too far"),
    (INFER, {"inputs": [tensor(RAW, "UINT8")]}, "'rows' must have the datatype FP64 or FP32"),
    (INFER, {"inputs": [tensor(RAW, "FP64", name="row")]}, "the input is 'images' or 'rows'"),
    (INFER, {"inputs": [tensor(RAW, "FP64", shape=[3, 1, 1, 4])]}, "must have the shape [n, 4]"),
    (
        INFER,
        {"inputs": [tensor(STANDARD, "UINT8", name="images", shape=[3, 1, 1, 4])]},
        "'images' must have the datatype FP32, not 'UINT8'",
    ),
    (
        "/v1/models/small:predict",
        {"inputs": {"rows": RAW.tolist()}},
        "with the one name 'images'",
    ),
]


@pytest.mark.parametrize(("path", "request_", "reason"), BAD)
def test_other_rows_are_refused(server: RunningServer, path: str, request_: Any, reason: str):
    answer = server.ask(path, request_)
    assert answer.status == 400
    assert reason in answer.error
