"""What a text on the command line names: code, or the run folder of a trained network."""

import sys
from types import ModuleType

import numpy as np
import pytest

import triptych as tt
from triptych.core import state
from triptych.doctor.frameworks.adapter import ADAPTERS, ModelError, imported_adapters
from triptych.doctor.model_file import ModelFile
from triptych.doctor.side_file import RunFolder, from_json, parse
from triptych.errors import TriptychError
from triptych.training import checkpoint

NETWORK = tt.Network("tiny", (4,), (tt.layers.Dense("logits", 2),))
RECIPE = tt.Recipe()


@pytest.fixture
def run(tmp_path):
    """A run folder that holds nothing but a state."""
    weights = state.initial(NETWORK, RECIPE)
    path = tmp_path / "run/last" / checkpoint.STATE
    checkpoint.save_state(path, weights, NETWORK, RECIPE, {"engine": "torch"})
    return tmp_path / "run"


def model_of(file):
    return file.run().make()["model"]


def test_a_run_folder_is_a_trained_network_in_the_engine_of_the_run(run):
    file = parse(str(run))
    assert file == RunFolder(run)
    model = model_of(from_json(file.to_json()))
    assert model.engine == "torch"
    kernel = model.run.state["logits/kernel"]
    assert np.array_equal(kernel, state.initial(NETWORK, RECIPE)["logits/kernel"])


def test_another_engine_can_be_named(run):
    assert model_of(parse(f"{run}:jax")).engine == "jax"
    assert model_of(parse(str(run / "last" / checkpoint.STATE))).engine == "torch"
    with pytest.raises(ModelError, match="run:torhc: engine 'torhc' is unknown"):
        parse(f"{run}:torhc")


def test_code_is_a_file_with_a_function(tmp_path):
    file = tmp_path / "side.py"
    file.write_text("def build():\n    return len\n")
    assert parse(str(file)) == ModelFile(file, "build")
    assert from_json(parse(f"{file}:other").to_json()) == ModelFile(file, "other")
    with pytest.raises(ModelError, match=r"nothing: no such file or folder; give FILE\.py"):
        parse(str(tmp_path / "nothing"))


def test_a_folder_that_is_no_run_and_a_damaged_state_are_named(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TriptychError, match=r"empty: holds no state\.safetensors"):
        parse(str(empty)).run()
    path = run / "last" / checkpoint.STATE
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(TriptychError, match=r"state\.safetensors"):
        parse(str(run)).run()


def test_an_adapter_is_imported_only_where_a_model_for_it_can_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user's file may import onnx without onnxruntime, which the adapter needs."""
    reading = "triptych.doctor.frameworks.onnx.reading"
    monkeypatch.delitem(sys.modules, reading, raising=False)
    monkeypatch.setitem(sys.modules, "onnx", ModuleType("onnx"))
    names = [module.__name__ for module in imported_adapters()]
    assert ADAPTERS[reading] not in names
