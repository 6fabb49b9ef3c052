"""The same requests to ``triptych serve`` and to NVIDIA's Triton: the same are accepted, with the
same numbers. Where the two differ on purpose, the reason is here and in docs/serving.md.
"""

import gzip
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import exporting, serving, triton
from support.damage import changed, mutated_request
from support.serving import Answer, RunningServer

from triptych.core.state import cast
from triptych.exporting.triton import TritonExporter
from triptych.spec import zoo
from triptych.training.saved import read_trained

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(
        not triton.BINARY.exists(), reason="python tools/tritonserver.py installs Triton"
    ),
]

NETWORK = zoo.dense("small", [5], shape=(4, 3, 1), classes=3)
INFER = "/v2/models/small/infer"
LENGTH = "Inference-Header-Content-Length"
IMAGES = np.random.default_rng(3).random((2, 4, 3, 1), np.float32).round(3)
NUMBERS = IMAGES.ravel().tolist()
BYTES = IMAGES.tobytes()
TENSOR: dict[str, Any] = {"name": "images", "datatype": "FP32", "shape": list(IMAGES.shape)}
LOGITS = [{"name": "logits"}]
BINARY_LOGITS = [{"name": "logits", "parameters": {"binary_data": True}}]
ROUNDING = 1e-6  # of logits, relative to the largest
MUTANTS = 1_000
# Triton ends itself when a shape holds a number of this size.
TOO_LARGE_FOR_TRITON = re.compile(rb'"shape": [^]]*[0-9]{10}')


class Case(NamedTuple):
    """A request."""

    path: str
    content: Any = None
    headers: dict[str, str] | None = None
    method: str | None = None


def infer(inputs: Any = None, outputs: Any = LOGITS, **more: Any) -> Case:
    """Return a request for inference in JSON; by default it is right."""
    request = {"inputs": [TENSOR | {"data": NUMBERS}] if inputs is None else inputs}
    return Case(INFER, request | {"outputs": outputs} | more)


def with_tensor(**changes: Any) -> Case:
    """Return a request whose tensor has other entries; an ellipsis leaves one out."""
    tensor = TENSOR | {"data": NUMBERS} | changes
    return infer([{key: value for key, value in tensor.items() if value is not ...}])


def with_data(data: Any) -> Case:
    return with_tensor(data=data)


def text(content: str | bytes) -> Case:
    return Case(INFER, content if isinstance(content, bytes) else content.encode())


def with_bytes(
    content: bytes = BYTES,
    size: Any = None,
    length: Any = None,
    outputs: Any = LOGITS,
    **more: Any,
) -> Case:
    """Return a request with a binary tensor; size and length are right unless given."""
    parameters = {"binary_data_size": len(content) if size is None else size}
    tensor = TENSOR | {"parameters": parameters} | more
    header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    headers = {LENGTH: str(len(header) if length is None else length)}
    return Case(INFER, header + content, headers)


RIGHT = json.dumps(infer().content)
HEALTH = {
    path: Case(path)
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2",
        "/v2/models/small",
        "/v2/models/small/versions/1",
        "/v2/models/small/ready",
        "/v2/models/small/versions/1/ready",
        "/v2/models/none",
        "/v2/models/none/ready",
        "/v2/models/small/versions/7",
        "/v2/models/small/versions/7/ready",
        "/v2/models/small/versions/x",
        "/v2/models/small/nothing",
        "/v2/models/small/versions/0",
        "/v2/models",
        "/v2/nothing",
        "/nothing",
    )
}
METHODS = {
    "POST to health": Case("/v2/health/live", b"{}"),
    "POST to metadata": Case("/v2/models/small", b"{}"),
    "GET of infer": Case(INFER),
    "PUT to infer": Case(INFER, b"{}", None, "PUT"),
    "DELETE of a model": Case("/v2/models/small", None, None, "DELETE"),
    "version 1": Case("/v2/models/small/versions/1/infer", infer().content),
    "version 7": Case("/v2/models/small/versions/7/infer", infer().content),
    "version 0": Case("/v2/models/small/versions/0/infer", infer().content),
    "another model": Case("/v2/models/none/infer", infer().content),
}
ACCEPTED = {
    "JSON": infer(),
    "nested lists": with_data(IMAGES.tolist()),
    "an id": infer(id="a7"),
    "no outputs": infer(outputs=[]),
    "whole numbers": with_data([1] * 24),
    "whole numbers and fractions": with_data([1, 0.5] * 12),
    "a number of 22 digits": with_data([2**70] * 24),
    "parameters": infer(parameters={}),
    "unknown parameters": infer(parameters={"a": 1}),
    "an unknown key": infer(more=1),
    "priority": infer(parameters={"priority": 2}),
    "a timeout": infer(parameters={"timeout": 1_000_000}),
    "a sequence": infer(parameters={"sequence_id": 5, "sequence_start": True}),
    "a full batch": infer([TENSOR | {"shape": [256, 4, 3, 1], "data": [0.5] * 12 * 256}]),
    "binary": with_bytes(),
    "binary both ways": with_bytes(outputs=BINARY_LOGITS),
    "a binary output": infer(outputs=BINARY_LOGITS),
    "binary outputs": infer(outputs=[], parameters={"binary_data_output": True}),
    "one that is not binary": infer(
        outputs=[{"name": "logits", "parameters": {"binary_data": False}}],
        parameters={"binary_data_output": True},
    ),
    "a header without bytes": Case(INFER, RIGHT.encode(), {LENGTH: str(len(RIGHT))}),
    "another content type": Case(INFER, RIGHT.encode(), {"Content-Type": "text/xml"}),
}
NO_JSON = {
    "nothing": text(""),
    "a word": text("xx"),
    "a list": text("[]"),
    "a number": text("1"),
    "cut off": text(RIGHT[:-3]),
    "something after it": text(RIGHT + "x"),
    "deep lists": text("[" * 100_000),
    "deep objects": text('{"a":' * 100_000),
    "single quotes": text(RIGHT.replace('"', "'")),
    "a comment": text("/* a */" + RIGHT),
    "a comma too many": text(RIGHT[:-1] + ",}"),
    "a byte order mark": text(b"\xef\xbb\xbf" + RIGHT.encode()),
    "no UTF-8": text(json.dumps(infer(id="X").content).encode().replace(b"X", b"\xff")),
    "outputs twice": text(RIGHT[:-1] + ',"outputs":[{"name":"logits"}]}'),
    "inputs twice": text(RIGHT[:-1] + ',"inputs":[]}'),
    "gzip": Case(INFER, gzip.compress(RIGHT.encode()), {"Content-Encoding": "gzip"}),
    "no gzip": Case(INFER, RIGHT.encode(), {"Content-Encoding": "gzip"}),
    "an unknown encoding": Case(INFER, RIGHT.encode(), {"Content-Encoding": "xyz"}),
}
WRONG_REQUESTS = {
    "an empty object": Case(INFER, {}),
    "no inputs": infer([]),
    "inputs in an object": infer({}),
    "an input twice": infer([TENSOR | {"data": NUMBERS}] * 2),
    "another input": infer([TENSOR | {"data": NUMBERS}, TENSOR | {"name": "b", "data": NUMBERS}]),
    "the name of the input": with_tensor(name="x"),
    "no name": with_tensor(name=...),
    "a number as name": with_tensor(name=3),
    "the name of the output": infer(outputs=[{"name": "x"}]),
    "outputs in an object": infer(outputs={}),
    "an output twice": infer(outputs=LOGITS * 2),
    "an output of ours": infer(outputs=[{"name": "probabilities"}]),
    "a number as id": infer(id=7),
    "a list as id": infer(id=[]),
    "a list as parameters": infer(parameters=[]),
    "null as parameters": infer(parameters=None),
    "a text as flag": infer(outputs=[{"name": "logits", "parameters": {"binary_data": "x"}}]),
    "classification": infer(outputs=[{"name": "logits", "parameters": {"classification": 2}}]),
    "shared memory": infer([TENSOR | {"parameters": {"shared_memory_region": "a"}}]),
}
WRONG_TENSORS = (
    {
        f"datatype {datatype}": with_tensor(datatype=datatype)
        for datatype in ("FP64", "FP16", "INT32", "BOOL", "BYTES", "xyz", "fp32", 3, None, ...)
    }
    | {
        f"shape {shape}": with_tensor(shape=shape)
        for shape in (
            *([2, 3, 4, 1], [2, 4, 3], [2, 12], [24], [1, 4, 3, 1], [3, 4, 3, 1]),
            *([-1, 4, 3, 1], [0, 4, 3, 1], [2, 4, 3, -1], [2, 4, 3, 1, 1], []),
            *([2.0, 4, 3, 1], ["2", 4, 3, 1], [True, 4, 3, 1], [10**30, 4, 3, 1], 2, None, ...),
        )
    }
    | {
        "no image": infer([TENSOR | {"shape": [0, 4, 3, 1], "data": []}]),
        "257 images": infer([TENSOR | {"shape": [257, 4, 3, 1], "data": [0.5] * 12 * 257}]),
        "UINT8": with_tensor(datatype="UINT8", data=[1] * 24),
        "a number too few": with_data(NUMBERS[:-1]),
        "a number too many": with_data([*NUMBERS, 1.0]),
        "texts": with_data(["a"] * 24),
        "numbers in quotes": with_data(["0.5"] * 24),
        "nulls": with_data([None] * 24),
        "true": with_data([True] * 24),
        "objects": with_data([{}] * 24),
        "a text": with_data("a"),
        "an object": with_data({}),
        "no data": with_tensor(data=...),
        "ragged lists": with_data([[0.5] * 23, [0.5]]),
        "lists of another shape": with_data(IMAGES.reshape(2, 12).tolist()),
        "NaN": with_data([float("nan")] * 24),
        "infinity": with_data([float("inf")] * 24),
        "more than float32": with_data([1e39] * 24),
        "more than float64": text(RIGHT.replace("0.8", "1e999", 1)),
        "401 digits": with_data([10**400] * 24),
    }
)
WRONG_BYTES = {
    "bytes of NaN": with_bytes(np.full_like(IMAGES, np.nan).tobytes()),
    "bytes whose logits are infinite": with_bytes(np.full_like(IMAGES, 3e38).tobytes()),
    "bytes too few": with_bytes(BYTES[:-4]),
    "bytes too many": with_bytes(BYTES + bytes(4)),
    "a size too small": with_bytes(size=len(BYTES) - 4),
    "a size too large": with_bytes(size=len(BYTES) + 4),
    "a size in quotes": with_bytes(size="96"),
    "a negative size": with_bytes(size=-1),
    "a header too long": with_bytes(length=10**6),
    "a header that is no number": with_bytes(length="x"),
    "a negative header": with_bytes(length=-1),
    "a header too short": with_bytes(length=5),
    "a header of 0": with_bytes(length=0),
    "bytes without a header": Case(INFER, with_bytes().content),
    "numbers and bytes": with_bytes(data=NUMBERS),
}
CASES = HEALTH | METHODS | ACCEPTED | NO_JSON | WRONG_REQUESTS | WRONG_TENSORS | WRONG_BYTES
# What one of the two accepts, and why.
NOT_FINITE = "numbers that are not finite are refused, and so are logits that are not"
TWICE = "a name that occurs twice is a mistake"
DELIBERATE = {
    "/v2/models/small/versions/0": "version 0 is the latest one, because some clients send it",
    "version 0": "version 0 is the latest one, because some clients send it",
    "an output of ours": "the probabilities are an addition",
    "UINT8": "bytes as pixels are an addition",
    "an output twice": TWICE,
    "outputs twice": TWICE,
    "inputs twice": TWICE,
    "classification": "the extension is not supported",
    "gzip": "compressed bodies are not supported",
    "ragged lists": "nested lists must have the shape of images",
    "lists of another shape": "nested lists must have the shape of images",
    "a byte order mark": "JSON has none (RFC 8259)",
    "no UTF-8": "JSON is UTF-8 (RFC 8259)",
    "NaN": NOT_FINITE,
    "infinity": NOT_FINITE,
    "more than float32": NOT_FINITE,
    "bytes of NaN": NOT_FINITE,
    "bytes whose logits are infinite": NOT_FINITE,
}
# The same in messages: what a mutant may be refused for that Triton accepts.
STRICTER = ("holds NaN", "too large for float32", "occurs twice", "requested twice", "utf-8")
# Triton answers with these where it cannot read a request.
UNREADABLE = ("parse", "failed to get request params", "Unsupported compression type")


class Servers(NamedTuple):
    """The two servers; both serve one network under the name ``small``."""

    ours: RunningServer
    theirs: RunningServer

    def ask(self, case: Case) -> tuple[Answer, Answer]:
        """Return both answers to a request; ours is never a failure of the server."""
        ours = self.ours.ask(*case)
        assert ours.status < 500, ours.body
        return ours, self.theirs.ask(*case)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("triton")
    run = serving.save_run(folder / "run", NETWORK)
    repository = folder / "repository"
    repository.mkdir()
    state = cast(read_trained(run).state, "float32")
    TritonExporter().write(exporting.model_of(NETWORK, state), repository)
    triton.use_python_backend(repository)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        serving.running("small=run", cwd=folder) as ours,
        triton.running(repository, folder, port) as theirs,
    ):
        yield Servers(ours, theirs)


def header_of(answer: Answer, name: str) -> str | None:
    """Return a header, whose name is written in any case."""
    headers = {key.lower(): value for key, value in answer.headers.items()}
    return headers.get(name.lower())


def json_bytes(answer: Answer) -> int:
    """Return how many bytes of an answer are JSON."""
    return int(header_of(answer, LENGTH) or len(answer.body))


def logits_of(answer: Answer) -> np.ndarray:
    """Return the logits of an answer, in JSON or as bytes."""
    at = json_bytes(answer)
    described = json.loads(answer.body[:at])
    for output in described["outputs"]:
        binary = output.get("parameters", {}).get("binary_data_size")
        if output["name"] == "logits":
            if binary is None:
                return np.array(output["data"]).reshape(output["shape"])
            return np.frombuffer(answer.body[at : at + binary], "<f4").reshape(output["shape"])
        at += binary or 0
    raise AssertionError(f"no logits: {described}")


def assert_equal_logits(ours: Answer, theirs: Answer) -> None:
    expected = logits_of(theirs)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(
        logits_of(ours), expected, rtol=0, atol=ROUNDING * max(1, np.abs(expected).max())
    )


def assert_refused_alike(theirs: Answer) -> None:
    """Check that Triton refuses what the client is to blame for; ours is 4xx then."""
    if theirs.status >= 500:
        assert any(words in theirs.body.decode() for words in UNREADABLE), theirs.body


@pytest.mark.parametrize("name", CASES)
def test_the_same_requests_are_accepted(servers: Servers, name: str):
    case = CASES[name]
    ours, theirs = servers.ask(case)
    if name in DELIBERATE:
        assert (ours.status == 200) != (theirs.status == 200), (ours.body, theirs.body)
        return
    assert (ours.status == 200) == (theirs.status == 200), (ours.body, theirs.body)
    if ours.status != 200:
        assert_refused_alike(theirs)
    elif case.path.endswith("/infer"):
        assert_equal_logits(ours, theirs)


def test_every_deliberate_difference_is_a_case():
    assert set(DELIBERATE) <= set(CASES)


def test_metadata(servers: Servers):
    ours, theirs = (answer.json for answer in servers.ask(Case("/v2/models/small")))
    assert ours["name"] == theirs["name"]
    assert ours["versions"] == theirs["versions"]
    assert ours["inputs"] == theirs["inputs"]
    assert ours["outputs"][0] == theirs["outputs"][0]
    ours, theirs = (answer.json for answer in servers.ask(Case("/v2")))
    assert set(ours) == set(theirs)
    assert set(ours["extensions"]) <= set(theirs["extensions"])


def test_answers_have_the_same_form(servers: Servers):
    for case in (infer(id="a7"), infer(outputs=BINARY_LOGITS, id="a7")):
        ours, theirs = servers.ask(case)
        assert header_of(ours, "Content-Type") == header_of(theirs, "Content-Type")
        bodies = [json.loads(answer.body[: json_bytes(answer)]) for answer in (ours, theirs)]
        for body in bodies:
            body["outputs"][0].pop("data", None)
        assert bodies[0] == bodies[1]


def mutant(chance: random.Random) -> Case:
    """Return a request that is changed at random, in its bytes or in its JSON."""
    whole = infer(id="a") if chance.random() < 0.5 else with_bytes()
    if whole.headers is None:
        if chance.random() < 0.3:
            return text(mutated_request(RIGHT.encode(), chance))
        content = json.loads(RIGHT)
        changed(content, chance)
        return text(json.dumps(content))
    length = int(whole.headers[LENGTH])
    header, tensor = whole.content[:length], bytearray(whole.content[length:])
    if chance.random() < 0.5:
        tensor[chance.randrange(len(tensor))] ^= 1 << chance.randrange(8)
        return Case(INFER, header + bytes(tensor), whole.headers)
    described = json.loads(header)
    changed(described, chance)
    header = json.dumps(described).encode()
    return Case(INFER, header + bytes(tensor), {LENGTH: str(len(header))})


def test_mutants(servers: Servers, scale: int):
    chance = random.Random(17)
    outcomes: Counter[str] = Counter()
    for _ in range(MUTANTS * scale):
        case = mutant(chance)
        if TOO_LARGE_FOR_TRITON.search(case.content):
            outcomes["not sent to Triton"] += 1
            assert servers.ours.ask(*case).status == 400
            continue
        ours, theirs = servers.ask(case)
        if ours.status == 200:
            assert_equal_logits(ours, theirs)
            outcomes["accepted"] += 1
        elif theirs.status == 200:
            assert any(words in ours.error for words in STRICTER), (ours.body, case)
            outcomes["refused by ours alone"] += 1
        else:
            assert_refused_alike(theirs)
            outcomes["refused"] += 1
    assert outcomes["accepted"] > MUTANTS * scale / 10
    assert outcomes["refused"] > MUTANTS * scale / 10
    assert outcomes["refused by ours alone"] < MUTANTS * scale / 20
