"""A model repository for Triton: what Triton's own reader makes of the configuration."""

from dataclasses import replace
from pathlib import Path

import pytest
from support import exporting

from triptych.errors import TriptychError
from triptych.exporting import triton
from triptych.exporting.targets import target
from triptych.exporting.verification import Reference, verify_export
from triptych.spec import zoo

NETWORK = zoo.dense("tiny", [4])
TEST = exporting.samples_of(NETWORK)

pytestmark = [
    pytest.mark.usefixtures("in_this_process"),
    pytest.mark.skipif(
        bool(target("triton").missing), reason="onnx and onnxruntime are not both installed"
    ),
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    model = exporting.model_of(NETWORK)
    target("triton").make_exporter().write(model, tmp_path)
    return tmp_path


def test_the_repository(repository: Path):
    files = {path.relative_to(repository).as_posix() for path in repository.rglob("*.*")}
    assert files == {"tiny/config.pbtxt", "tiny/labels.txt", "tiny/1/model.onnx"}
    assert target("triton").path_of(NETWORK) == "tiny/1/model.onnx"
    labels = (repository / "tiny" / "labels.txt").read_text().splitlines()
    assert labels == [str(number) for number in range(10)]


def test_the_model_is_verified(repository: Path):
    model = exporting.model_of(NETWORK)
    result = verify_export(target("triton"), repository, model, Reference.of(model, TEST), TEST)
    assert result.verdict == "rounding"
    assert "Triton itself was not run" in target("triton").note


def test_tritons_own_reader_understands_the_configuration(repository: Path):
    pytest.importorskip("tritonclient.grpc")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (repository / "tiny" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.name == "tiny"
    assert config.platform == "onnxruntime_onnx"
    assert config.max_batch_size == 256
    (images,) = config.input
    (logits,) = config.output
    assert (images.name, images.data_type) == ("images", model_config_pb2.TYPE_FP32)
    assert list(images.dims) == [28, 28, 1]
    assert (logits.name, logits.data_type) == ("logits", model_config_pb2.TYPE_FP32)
    assert list(logits.dims) == [10]
    assert logits.label_filename == "labels.txt"


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('name: "tiny"', 'name: "other"', "does not describe the model (name)"),
        ("[ 28, 28, 1 ]", "[ 28, 28 ]", "(input)"),
        ('"logits"', '"scores"', "(output)"),
        ("TYPE_FP32", "TYPE_FP64", "(input, output)"),
        ("max_batch_size: 256", "max_batch_size: 0", "(max_batch_size)"),
        ("output [", "output {", "the configuration has"),
        ("]", "", "the configuration has"),
        ('"onnxruntime_onnx"', "'onnxruntime_onnx'", "the configuration has a mistake at"),
    ],
)
def test_a_configuration_that_is_wrong(repository: Path, right: str, wrong: str, message: str):
    path = repository / "tiny" / "config.pbtxt"
    path.write_text(path.read_text().replace(right, wrong))
    with pytest.raises(TriptychError) as error:
        target("triton").make_exporter().load(repository)
    assert message in str(error.value)


def test_labels_that_are_missing(repository: Path):
    (repository / "tiny" / "labels.txt").write_text("0\n1\n")
    with pytest.raises(TriptychError, match="2 labels for 10 classes"):
        target("triton").make_exporter().load(repository)


def test_the_configuration_is_parsed_as_protobuf_does():
    text = 'a: 1 b { c: "x y" c: "z" } d [ 1, -2 ] e: [ W ]'
    assert triton.parse(text) == {
        "a": ["1"],
        "b": [{"c": ["x y", "z"]}],
        "d": ["1", "-2"],
        "e": ["W"],
    }


@pytest.mark.parametrize(
    ("name", "folder"),
    [("784-10", "784-10"), ("../up", "-up"), ("a b/ü", "a-b--"), ("..", "network")],
)
def test_the_name_of_a_network_is_a_safe_folder(name: str, folder: str):
    from triptych.exporting.targets import folder_name

    assert folder_name(replace(NETWORK, name=name)) == folder
