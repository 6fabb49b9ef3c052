"""A network that does not fit into memory is refused in the same words by every engine."""

import subprocess
import sys

import pytest
from support.engines import rows

from triptych.core import memory, registry
from triptych.errors import EngineError
from triptych.spec import zoo
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


@pytest.mark.parametrize(("name", "backend"), rows(slow=False))
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
