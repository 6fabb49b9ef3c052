"""NaN goes through compiled loops as it goes through NumPy."""

import numpy as np
import pytest
from support.engines import loaded_engine
from support.splits import random_split

from triptych.core import state
from triptych.core.plan import Plan
from triptych.parity.specimens import specimens
from triptych.spec import zoo
from triptych.spec.losses import Clip
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

pytest.importorskip("numba")
NETWORKS = [zoo.get("classic"), *specimens(zoo.GREY, 10)]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_outputs_have_it_in_the_same_places(network: Network):
    recipe = Recipe(1, 4)
    start = state.initial(network, recipe)
    first_kernel = next(name for name in start if name.endswith("/kernel"))
    start[first_kernel].flat[-1] = np.nan
    split = random_split(4, network.input_shape, classes=10)
    masks = {layer.name: np.ones((1, 4, *shape), np.bool_) for layer, shape in network.dropouts}
    plan = Plan(np.array([0.1]), np.arange(4, dtype=np.int32)[None], masks)
    traces = []
    for name in ("numpy", "numba"):
        engine = loaded_engine(name, network, recipe, start=start)
        traces.append(engine.trace(engine.upload(split), plan))
    expected, computed = traces
    outputs = [name for name in expected if name.startswith(("output/", "loss"))]
    assert any(np.isnan(expected[name]).any() for name in outputs)
    for name in outputs:
        assert np.array_equal(np.isnan(computed[name]), np.isnan(expected[name])), name


@pytest.mark.parametrize("clip", [Clip(), Clip(0.1), Clip(0.1, "value")], ids=repr)
def test_a_training_that_diverges_does_not_look_healthy(clip: Clip):
    network = zoo.get("classic")
    recipe = Recipe(1, 4, clip=clip)
    start = state.initial(network, recipe)
    start["hidden/kernel"][400] = np.nan
    split = random_split(4, network.input_shape, classes=10)
    plan = Plan(np.full(2, 0.1), np.arange(8, dtype=np.int32).reshape(2, 4) % 4)
    engine = loaded_engine("numba", network, recipe, start=start)
    engine.run(engine.upload(split), plan)
    assert np.isnan(engine.wait()).all()
    assert np.isnan(engine.state()["output/kernel"]).all()
