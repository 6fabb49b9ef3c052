"""Every target computes what the network computes: all layers and options, any size of a batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import exporting

from triptych.core import state as states
from triptych.engines.numpy.engine import Engine
from triptych.exporting.targets import TARGETS, target
from triptych.exporting.verification import Reference, Verification, verify_export
from triptych.parity.specimens import specimens
from triptych.spec import zoo
from triptych.spec.layers import LAYERS
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

OBLONG = (17, 22, 3)  # rows and columns that are exchanged, and channels, do not go unnoticed
SPECIMENS = {network.name: network for network in specimens(OBLONG, 7)}
SMALL = ("custom", "lenet-bn", "normed")
FAST = "lenet-bn"

pytestmark = pytest.mark.usefixtures("in_this_process")


def exported(name: str, network: Network, folder: Path) -> Verification:
    """Write a network with random weights for a target; return its verification."""
    chosen = target(name)
    if chosen.missing:
        pytest.skip(f"{chosen.label} needs {', '.join(chosen.missing)}")
    model = exporting.model_of(network)
    test = exporting.samples_of(network)
    chosen.make_exporter().write(model, folder)
    assert (folder / chosen.path_of(network)).exists()
    return verify_export(chosen, folder, model, Reference.of(model, test), test)


def network_of(name: str) -> Network:
    return SPECIMENS[name] if name in SPECIMENS else zoo.get(name)


def test_the_specimens_contain_every_layer():
    kinds = {type(place.layer) for network in SPECIMENS.values() for place in network.places}
    assert kinds >= set(LAYERS.values())


@pytest.mark.parametrize("name", SPECIMENS)
def test_every_layer_and_option_in_onnx(name: str, tmp_path: Path):
    result = exported("onnx", SPECIMENS[name], tmp_path)
    assert result.verdict == "rounding", result
    assert result.differing == 0
    assert result.first_layer is None
    assert result.largest < 1e-4


@pytest.mark.parametrize("name", SPECIMENS)
def test_onnx_runtime_shows_every_layer(name: str, tmp_path: Path):
    network = SPECIMENS[name]
    exported("onnx", network, tmp_path)
    images = exporting.samples_of(network, 5).images
    recipe = Recipe(1, dtype="float64")
    engine = Engine(network, recipe)
    engine.load(states.cast(exporting.random_state(network), "float64"))
    expected = engine.layer_outputs(images)
    layers = [place.layer.name for place in network.places]
    shown, _ = exporting.run_in_this_process(
        target("onnx"), tmp_path, exporting.samples_of(network, 5).pixels("float32"), layers=layers
    )
    assert list(shown) == layers
    for layer in layers:
        np.testing.assert_allclose(shown[layer], expected[layer], rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_named_network_in_onnx(name: str, tmp_path: Path):
    assert exported("onnx", zoo.get(name), tmp_path).verdict == "rounding"


def test_rows_of_a_table_in_onnx(tmp_path: Path):
    network = zoo.dense("table", [8], 0.1, shape=(1, 1, 5), classes=3)
    assert exported("onnx", network, tmp_path).verdict == "rounding"


def framework_cases() -> list[Any]:
    """Return every other target with the small networks; one of them is fast for each target."""
    names = [name for name in TARGETS if "onnx" not in target(name).requires]
    return [
        pytest.param(name, network, marks=[] if network == FAST else [pytest.mark.slow])
        for name in names
        for network in SMALL
    ]


@pytest.mark.framework
@pytest.mark.parametrize(("name", "network"), framework_cases())
def test_the_frameworks_targets(name: str, network: str, tmp_path: Path):
    result = exported(name, network_of(network), tmp_path)
    if target(name).quantized:
        assert result.verdict == "precision", result
        assert 1e-4 < result.largest < 2  # it does compute in int8, and not far off
    else:
        assert result.verdict == "rounding", result
        assert result.differing == 0


@pytest.mark.slow
@pytest.mark.framework
@pytest.mark.parametrize("name", ["torch-export", "torchscript", "saved-model", "litert"])
@pytest.mark.parametrize("network", [name for name in SPECIMENS if name != "normed"])
def test_every_layer_in_the_frameworks_targets(name: str, network: str, tmp_path: Path):
    assert exported(name, network_of(network), tmp_path).verdict == "rounding"
