"""The OpenAPI description, checked by requests that schemathesis makes of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import serving

from triptych.spec import zoo

pytestmark = pytest.mark.process

# A request whose 'shape' and 'data' do not fit together is refused, which no schema can express.
CHECKS = ("--exclude-checks", "positive_data_acceptance")
THOROUGH = ("--phases", "coverage,fuzzing")
ROWS = zoo.dense("table", [4], shape=(1, 1, 2), classes=3)
TINY = zoo.dense("tiny", [4], shape=(2, 2, 1), classes=3)


def run_schemathesis(tmp_path: Path, examples: int, *options: str, **variables: str) -> None:
    pytest.importorskip("schemathesis")
    serving.save_run(tmp_path / "run", TINY)
    serving.save_run(tmp_path / "second", TINY, data={"pixels": [0.0, 1.0]})
    standardised = {"names": ["a", "b"], "mean": [0.5, 7.0], "deviation": [1.0, 0.1]}
    serving.save_run(tmp_path / "table", ROWS, data={"standardised": standardised})
    with serving.running("run", "second=second", "table", cwd=tmp_path, **variables) as server:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
        limits = ["--max-examples", str(examples), "--seed", "1", "--no-color"]
        done = subprocess.run(
            [*command, *limits, *CHECKS, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.errors == []


def test_requests_made_from_the_description(tmp_path: Path):
    run_schemathesis(tmp_path, 2, "--phases", "fuzzing")


@pytest.mark.slow
def test_many_requests_made_from_the_description(tmp_path: Path, scale: int):
    run_schemathesis(tmp_path, 100 * scale, *THOROUGH)


@pytest.mark.slow
def test_requests_with_a_token(tmp_path: Path):
    token = ("--header", "Authorization: Bearer secret")
    run_schemathesis(tmp_path, 5, *THOROUGH, *token, TRIPTYCH_TOKEN="secret")


def test_each_model_and_version_has_paths(server: serving.RunningServer):
    document = server.ask("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    paths = document["paths"]
    for path in (
        "/v1/models/small:predict",
        "/v1/models/small/versions/2:predict",
        "/v2/models/conv/infer",
        "/v2/models/conv/versions/1/ready",
    ):
        assert path in paths
    image = paths["/v1/models/small:predict"]["post"]["requestBody"]["content"]
    rows = image["application/json"]["schema"]["oneOf"][0]["properties"]["instances"]["anyOf"][0]
    assert rows["items"]["maxItems"] == 4
    assert "security" not in document


def test_the_pixels_of_the_training_are_limits(server: serving.RunningServer):
    paths = server.ask("/openapi.json").json["paths"]
    for model, limits in (("fractions", (-0.25, 1.25)), ("centred", (-2, 4)), ("small", None)):
        body = paths[f"/v2/models/{model}/infer"]["post"]["requestBody"]["content"]
        tensors = body["application/json"]["schema"]["properties"]["inputs"]["items"]["anyOf"]
        floats, integers = (each["properties"]["data"]["items"]["anyOf"][0] for each in tensors)
        assert integers == {"type": "integer", "minimum": 0, "maximum": 255}
        expected = {"minimum": limits[0], "maximum": limits[1]} if limits else {}
        assert floats == {"type": "number"} | expected


def test_every_get_path_answers(server: serving.RunningServer):
    paths = server.ask("/openapi.json").json["paths"]
    for path, operations in paths.items():
        if "get" in operations:
            assert server.ask(path).status == 200
