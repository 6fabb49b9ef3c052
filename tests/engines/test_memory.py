"""A network that does not fit into memory is refused in the same words by every engine.

An engine that is no longer used frees its memory.
"""

import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest
from support.engines import loaded_engine, rows, slow_if

from triptych.core import memory, registry
from triptych.core.engine import SharedStepsEngine
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.errors import EngineError
from triptych.parity.specimens import specimens
from triptych.spec import zoo
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

# 1.2 thousand million weights: 4.7 GiB an array, where 5 GiB more than the imports took may be had.
LIMITED = """
import resource, sys
from triptych.core import memory, registry
from triptych.spec import zoo
from triptych.spec.recipe import Recipe
registry.create(sys.argv[1], zoo.get("classic"), Recipe(1))
memory.check_memory = lambda *_: None
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, -1))
try:
    registry.create(sys.argv[1], zoo.dense("large", [1_500_000]), Recipe(1))
except BaseException as error:
    print(type(error).__name__, memory.ran_out_of_memory(error))
"""


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
def test_it_is_refused_before_anything_is_allocated(name: str, backend: str):
    huge = zoo.dense("huge", [10**9])
    with pytest.raises(
        EngineError,
        match=r"huge: not enough memory; .*: 795,000,000,010 parameters .* take 5,923 GiB",
    ):
        registry.create(name, huge, Recipe(1), backend=backend)


def test_what_is_needed_counts_every_array():
    """Weights, gradients and Adam's two slots, of 8 bytes each."""
    from triptych.spec.optimizers import Adam

    huge = zoo.dense("huge", [10**9])
    with pytest.raises(EngineError, match=f"take {795_000_000_010 * 8 * 4 / 2**30:,.0f} GiB"):
        memory.check_memory(huge, Recipe(1, optimizer=Adam(), dtype="float64"))
    memory.check_memory(zoo.get("best"), Recipe(1))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process so")
@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_an_allocation_that_fails_is_recognised(name: str):
    if not registry.entry(name).installed:
        pytest.skip("not installed")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, name], capture_output=True, text=True, timeout=200
    )
    assert done.stdout.endswith("True\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), True),
        (RuntimeError("shapes do not match"), False),
        (KeyError("out of memory"), False),
    ],
)
def test_the_words_of_the_frameworks(error: Exception, says: bool):
    assert memory.ran_out_of_memory(error) == says


def used_engine(name: str, backend: str | None, network: Network, split: Split) -> Any:
    """Create an engine that has computed everything once."""
    recipe = Recipe(1, 64, dtype="float64")
    engine = loaded_engine(name, network, recipe, backend)
    data = engine.upload(split)
    plan = next(BatchPlanner(network, recipe, len(split), 1).plans())
    engine.trace(data, plan)
    engine.run(data, plan)
    engine.wait()
    if isinstance(engine, SharedStepsEngine):
        engine.run_shared(data, plan, lambda part: part)
    engine.logits(data)
    return engine


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
def test_an_engine_that_is_not_used_any_more_is_freed(name: str, backend: str, few: Split):
    engine = used_engine(name, backend, zoo.get("regularized"), few)
    reference = weakref.ref(engine)
    del engine
    gc.collect()
    assert reference() is None


def graphs() -> int:
    """Return how many graphs of TensorFlow are in memory."""
    return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())


@pytest.mark.framework
@pytest.mark.skipif(not registry.entry("tensorflow").installed, reason="not installed")
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(network, id=network.name, marks=slow_if(network.amplifies_rounding))
        for network in specimens(zoo.GREY, 10)
    ],
)
def test_every_layer_of_tensorflow_lets_its_graph_be_freed(network: Network, few: Split):
    gc.collect()
    before = graphs()
    engine = used_engine("tensorflow", None, network, few)
    assert graphs() > before
    del engine
    gc.collect()
    assert graphs() == before
