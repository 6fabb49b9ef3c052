"""The Numba engine's functions, compiled in processes of their own before the tests need them.

Compiling takes 0.5 GB, which a test process would have on top of what the frameworks take; and each
test process would compile the same. The machine code is stored in files, which all processes read.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from triptych.core import registry

FEWEST_TESTS = 20  # for fewer tests, what they need themselves is compiled faster

PROGRAM = """
import sys
import numpy as np
from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.parity.specimens import specimens
from triptych.spec import zoo
from triptych.spec.optimizers import SHORTHANDS, optimizer
from triptych.spec.recipe import Recipe

def make_step(network, chosen):
    recipe = Recipe(1, 8, optimizer(chosen), dtype=sys.argv[1])
    engine = registry.create("numba", network, recipe)
    engine.load(state.initial(network, recipe))
    images = np.zeros((8, *network.input_shape), np.uint8)
    data = engine.upload(Split(images, np.zeros(8, np.int32)))
    plan = next(BatchPlanner(network, recipe, 8).plans())
    engine.trace(data, plan)
    engine.run(data, plan)
    engine.logits(data)

for network in (zoo.get("classic"), zoo.get("regularized"), *specimens(zoo.GREY, 10)):
    make_step(network, "sgd")
for chosen in SHORTHANDS:
    make_step(zoo.get("classic"), chosen)
"""


def compile_for(items: list[pytest.Item], folder: Path) -> None:
    """Compile what these tests need of the Numba engine, unless they are few.

    Of several test processes the first compiles, and the others wait for it.

    Parameters
    ----------
    items : list of Item
        The tests of this process.
    folder : Path
        A temporary folder that all processes of these tests share.
    """
    needed = [item for item in items if "numba" in item.nodeid]
    if len(needed) < FEWEST_TESTS or not registry.entry("numba").installed:
        return
    with (folder / "compiled").open("a+", encoding="utf-8") as file:
        _wait_for_others(file.fileno())
        file.seek(0)
        if file.read():
            return
        running = [
            subprocess.Popen([sys.executable, "-c", PROGRAM, dtype])
            for dtype in ("float32", "float64")
        ]
        for process in running:
            process.wait()  # if one fails, so will the tests, with its error
        file.write("done")


def _wait_for_others(file: int) -> None:
    """Lock a file, where the operating system can; without a lock each process compiles."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
