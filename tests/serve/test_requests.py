"""Requests that are refused: a status and one line, quickly, and without much memory."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support import serving
from support.serving import RunningServer

pytestmark = pytest.mark.process

MOST_SECONDS = 1.0
MOST_EXTRA_BYTES = 200 * 2**20
PREDICT = "/v1/models/small:predict"
INFER = "/v2/models/small/infer"
ROW = np.full((4, 3, 1), 0.5).tolist()
GOOD = {"name": "images", "datatype": "FP32", "shape": [1, 4, 3, 1], "data": [0.5] * 12}


def nested(depth: int) -> bytes:
    return b'{"instances": ' + b"[" * depth + b"]" * depth + b"}"


def changed(value: Any) -> list[Any]:
    """An image with another value for its first pixel."""
    return [[[value], [0.5], [0.5]], *ROW[1:]]


# A body, and a part of the message.
BAD_ROWS: list[tuple[Any, str]] = [
    (b"", "no valid JSON"),
    (b"{", "no valid JSON"),
    (b'{"instances": [[[[0.5], [0.5]', "no valid JSON"),
    (b"\xff\xfe{}", "no valid JSON"),
    (b"[]", "must be a JSON object"),
    (b'"text"', "must be a JSON object"),
    ({}, "one of 'instances' and 'inputs'"),
    ({"instances": [ROW], "inputs": [ROW]}, "one of 'instances' and 'inputs'"),
    ({"instances": []}, "holds no image"),
    ({"instances": 3}, "'instances' must be a list, not 3"),
    ({"instances": {"a": 1}}, "'instances' must be a list, not an object"),
    ({"inputs": 3}, "must be images of shape (n, 4, 3, 1), not 3"),
    ({"instances": [ROW[:3]]}, "axis 1 has 3 entries in place of 4"),
    ({"instances": [[*ROW[:3], [[0.5]]]]}, "axis 2 has 1 entries in place of 3"),
    ({"instances": [[0.5] * 12]}, "axis 1 has 12 entries in place of 4"),
    ({"instances": [0.5]}, "a list is missing at axis 1"),
    ({"instances": [changed([0.5])]}, "must hold numbers only, not a list"),
    ({"instances": [changed("0.5")]}, "must hold numbers only, not '0.5'"),
    ({"instances": [changed(True)]}, "must hold numbers only, not True"),
    ({"instances": [changed(None)]}, "must hold numbers only, not None"),
    ({"instances": [changed(10**400)]}, "too large"),
    ({"instances": [changed(1e300)]}, "too large for float32"),
    ({"instances": [changed(float("nan"))]}, "holds NaN"),
    ({"instances": [changed(float("-inf"))]}, "holds -Infinity"),
    (json.dumps({"instances": [ROW]}).encode().replace(b"0.5", b"1e999"), "too large for float32"),
    ({"instances": [{"pixels": ROW}]}, "an object with the one name 'images'"),
    ({"instances": [{"images": ROW, "more": 1}]}, "an object with the one name 'images'"),
    ({"instances": [ROW, {"images": ROW}]}, "an object with the one name 'images'"),
    ({"instances": [ROW] * 257}, "the limit is 256"),
    ({"instances": [ROW], "signature_name": "other"}, "there is no signature 'other'"),
    ({"instances": [ROW], "signature_name": ["other"]}, "there is no signature a list"),
    (b'{"instances": 1, "instances": 2}', "a name occurs twice"),
    (b'{"instances": ' + b"1" * 5000 + b"}", "no valid JSON"),
    (nested(1500), "nested too deeply"),
    (nested(100_000), "commas and brackets"),
    (nested(900), "axis 1 has 1 entries"),
    (b'{"instances": [' + b"[]," * 4_000_000 + b"[]]}", "commas and brackets"),
    (b'{"instances": ["' + b"a" * 10_000_000 + b'"]}', "a list is missing at axis 1"),
]

BAD_TENSORS: list[tuple[Any, str]] = [
    ({}, "'inputs' must be a list with one tensor"),
    ({"inputs": [GOOD, GOOD]}, "'inputs' must be a list with one tensor"),
    ({"inputs": [3]}, "'inputs' must be a list with one tensor"),
    ({"inputs": [GOOD | {"name": "pixels"}]}, "there is no input 'pixels'"),
    ({"inputs": [GOOD | {"name": "../../etc/passwd"}]}, "there is no input '../../etc/passwd'"),
    ({"inputs": [GOOD | {"name": "a\r\nb"}]}, "there is no input"),
    ({"inputs": [GOOD | {"datatype": "FP64"}]}, "the datatype FP32 or UINT8, not 'FP64'"),
    ({"inputs": [GOOD | {"datatype": {}}]}, "not an object"),
    ({"inputs": [GOOD | {"shape": [1, 3, 4, 1]}]}, "the shape [n, 4, 3, 1], not '[1, 3, 4, 1]'"),
    ({"inputs": [GOOD | {"shape": [12]}]}, "the shape [n, 4, 3, 1]"),
    ({"inputs": [GOOD | {"shape": "1,4,3,1"}]}, "the shape [n, 4, 3, 1]"),
    ({"inputs": [GOOD | {"shape": [True, 4, 3, 1]}]}, "the shape [n, 4, 3, 1]"),
    ({"inputs": [GOOD | {"shape": [0, 4, 3, 1]}]}, "holds no image"),
    ({"inputs": [GOOD | {"shape": [-1, 4, 3, 1]}]}, "holds no image"),
    ({"inputs": [GOOD | {"shape": [10**15, 4, 3, 1]}]}, "the limit is 256"),
    ({"inputs": [GOOD | {"shape": [2, 4, 3, 1]}]}, "must be 24 numbers, not 12 numbers"),
    ({"inputs": [GOOD | {"data": None}]}, "must be 12 numbers, not None"),
    ({"inputs": [GOOD | {"data": {"a": 1}}]}, "must be 12 numbers, not an object"),
    ({"inputs": [GOOD | {"data": ["a"] * 12}]}, "must hold numbers only, not 'a'"),
    ({"inputs": [GOOD | {"data": [[0.5] * 12]}]}, "axis 1 has 12 entries"),
    ({"inputs": [GOOD | {"datatype": "UINT8"}]}, "whole numbers from 0 to 255"),
    ({"inputs": [GOOD | {"datatype": "UINT8", "data": [256] * 12}]}, "from 0 to 255"),
    ({"inputs": [GOOD | {"parameters": []}]}, "'parameters' must be an object"),
    ({"inputs": [GOOD | {"parameters": {"binary_data_size": 48}}]}, "has both"),
    ({"inputs": [GOOD], "id": 7}, "'id' must be a text"),
    ({"inputs": [GOOD], "outputs": [{"name": "other"}]}, "there is no output 'other'"),
    ({"inputs": [GOOD], "outputs": [{"name": "logits"}] * 2}, "is requested twice"),
    ({"inputs": [GOOD], "outputs": "logits"}, "'outputs' must be a list of objects"),
    (
        {"inputs": [GOOD], "outputs": [{"name": "logits", "parameters": {"classification": 2}}]},
        "'classification' is not supported",
    ),
    ({"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, "must be true or false, not 1"),
]


@pytest.fixture
def bounded(server: RunningServer) -> Callable[..., serving.Answer]:
    """Ask the server; the answer must come quickly, and cost little memory."""
    process = psutil.Process(server.process.pid)

    def ask(*arguments: Any, **options: Any) -> serving.Answer:
        before = process.memory_info().rss
        started = time.monotonic()
        answer = server.ask(*arguments, **options)
        assert time.monotonic() - started < MOST_SECONDS
        assert process.memory_info().rss - before < MOST_EXTRA_BYTES
        return answer

    return ask


@pytest.mark.parametrize(("body", "message"), BAD_ROWS)
def test_malformed_rows_are_refused(bounded: Any, body: Any, message: str):
    answer = bounded(PREDICT, body)
    assert answer.status == 400
    assert message in answer.error


@pytest.mark.parametrize(("body", "message"), BAD_TENSORS)
def test_malformed_tensors_are_refused(bounded: Any, body: Any, message: str):
    answer = bounded(INFER, body)
    assert answer.status == 400
    assert message in answer.error


PREPARED = "the pixels of the training are from {}; {}"
FRACTIONS = PREPARED.format("0 to 1", "divide bytes by 255")
CENTRED = PREPARED.format("-1 to 3", "prepare them as these were")


@pytest.mark.parametrize(
    ("model", "pixel", "message"),
    [
        ("fractions", 0.5, None),
        ("fractions", 1.2, None),  # what bicubic interpolation may give
        ("fractions", -0.2, None),
        ("fractions", 254, f"'images' holds 254, but {FRACTIONS}"),
        ("fractions", 2, f"'images' holds 2, but {FRACTIONS}"),
        ("fractions", -1, f"'images' holds -1, but {FRACTIONS}"),
        ("centred", 3.9, None),
        ("centred", -1.9, None),
        ("centred", 255, f"'images' holds 255, but {CENTRED}"),
        ("centred", -2.5, f"'images' holds -2.5, but {CENTRED}"),
        ("small", 255, None),  # nothing is recorded of its data
    ],
)
def test_pixels_unlike_those_of_the_training_are_refused(
    bounded: Any, model: str, pixel: float, message: str | None
):
    rows = {"instances": [ROW, changed(pixel)]}
    tensor = GOOD | {"data": [pixel, *GOOD["data"][1:]]}
    for path, body in (
        (f"/v1/models/{model}:predict", rows),
        (f"/v2/models/{model}/infer", {"inputs": [tensor]}),
    ):
        answer = bounded(path, body)
        assert answer.status == (200 if message is None else 400)
        if message is not None:
            assert answer.error == message


def test_bytes_are_not_taken_for_fractions(bounded: Any):
    tensor = GOOD | {"datatype": "UINT8", "data": [255] * 12}
    assert bounded("/v2/models/fractions/infer", {"inputs": [tensor]}).status == 200


def binary(header: dict[str, Any], content: bytes) -> tuple[bytes, dict[str, str]]:
    encoded = json.dumps(header).encode()
    return encoded + content, {"Inference-Header-Content-Length": str(len(encoded))}


@pytest.mark.parametrize(
    ("size", "content", "message"),
    [
        (48, bytes(44), "44 bytes follow"),
        (48, bytes(52), "52 bytes follow"),
        (44, bytes(44), "has 48 bytes; 'binary_data_size' is 44"),
        (10**15, bytes(48), "'binary_data_size' is 1000000000000000"),
        (-48, bytes(48), "'binary_data_size' is -48"),
        ("48", bytes(48), "'binary_data_size' is '48'"),
        (None, bytes(48), "no input has 'binary_data_size'"),
        (48, np.full(12, np.nan, "<f4").tobytes(), "holds NaN"),
        (48, np.full(12, np.inf, "<f4").tobytes(), "holds NaN"),
    ],
)
def test_malformed_binary_tensors_are_refused(
    bounded: Any, size: Any, content: bytes, message: str
):
    tensor = {key: value for key, value in GOOD.items() if key != "data"}
    body, headers = binary(
        {"inputs": [tensor | {"parameters": {"binary_data_size": size}}]}, content
    )
    answer = bounded(INFER, body, headers)
    assert answer.status == 400
    assert message in answer.error


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 400, "999999", "٣"])
def test_a_wrong_length_of_the_header_is_refused(bounded: Any, length: str):
    headers = {"Inference-Header-Content-Length": length.encode().decode("latin-1")}
    answer = bounded(INFER, {"inputs": [GOOD]}, headers)
    assert answer.status == 400
    assert "is no length of JSON" in answer.error


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/other:predict",
        "/v2/models/other/infer",
        "/v2/models/%2e%2e/infer",
        "/v1/models/..%2f..%2fetc%2fpasswd:predict",
        "/v1/models/../../etc/passwd",
        "/v2/models/small%00/infer",
        "/v2/models/small/versions/3/infer",
        "/v2/models/small/versions/-1/infer",
        "/v2/models/small/versions/1.0/infer",
        "/v2/models/small/versions/" + "9" * 5000 + "/infer",
        "/v2/models/" + "a" * 5000 + "/infer",
        "/v1/models/small:classify",
        "/assets/../app.py",
        "/assets/%2e%2e%2fapp.py",
        "/assets/..%5capp.py",
    ],
)
def test_other_paths_are_not_found(bounded: Any, path: str):
    answer = bounded(path, {"inputs": [GOOD]})
    assert answer.status in (404, 405)
    assert len(answer.error) <= 300


def test_a_wrong_method_is_named(bounded: Any):
    answer = bounded(PREDICT)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert answer.error == f"GET is not possible at {PREDICT}"


def test_a_body_above_the_limit_is_refused(bounded: Any):
    answer = bounded(PREDICT, bytes(17 * 2**20))
    assert answer.status == 413
    assert answer.error == "the body is longer than the limit of 16,777,216 bytes"


def test_a_compressed_body_is_refused(bounded: Any):
    answer = bounded(PREDICT, bytes(10), {"Content-Encoding": "gzip"})
    assert answer.status == 415
    assert "compressed" in answer.error


def raw(server: RunningServer, *parts: bytes) -> bytes:
    """Send bytes, and return all that comes back until the server closes the connection."""
    host, port = server.address.split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        with suppress(ConnectionError):
            while received := connection.recv(65536):
                answer += received
    return answer


def test_a_huge_declared_size_is_refused_at_once(server: RunningServer):
    head = f"POST {PREDICT} HTTP/1.0\r\nHost: a\r\nContent-Length: {10**15}\r\n\r\n"
    assert raw(server, head.encode()).startswith(b"HTTP/1.1 413")


def test_a_body_without_a_declared_size_is_limited_too(server: RunningServer):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    answer = raw(server, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 300)
    assert answer.startswith(b"HTTP/1.1 413")


def test_headers_without_end_are_refused(server: RunningServer):
    answer = raw(server, b"GET / HTTP/1.1\r\n", *[b"A: " + b"a" * 10_000 + b"\r\n"] * 100)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert server.ask("/v2/health/live").status == 200


def test_what_is_no_http_is_refused(server: RunningServer):
    assert raw(server, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_client_that_leaves_does_no_harm(server: RunningServer, runs: Path):
    host, port = server.address.split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 900\r\n\r\n{{".encode())
    assert server.ask("/v2/health/live").status == 200
    assert not [line for line in server.errors if "Traceback" in line]
