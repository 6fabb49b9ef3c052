"""Every kernel with two threads: what users run, where the other tests have one thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT

pytest.importorskip("numba")
pytestmark = [pytest.mark.framework, pytest.mark.process, pytest.mark.slow]

TESTS = Path(__file__).parents[2]

# Every loop is divided among the threads, however small it is.
PROVING = """
from itertools import islice
import sys

from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.engines.numba import compilation, dense_steps, layers, threads

threads.share_count.__defaults__ = (1,)
dense_steps.LEAST_PRODUCTS = layers.LEAST_PRODUCTS = 1

from support.splits import first_digits
from triptych.parity import lockstep
from triptych.parity.specimens import specimens
from triptych.spec import zoo
from triptych.spec.augmentation import Augmentation
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe

digits = first_digits(80)
everything = Augmentation(rotate=10.0, shift=2, flip=True, cutout=6)
recipes = [
    Recipe(1, 32, optimizer("adam"), dtype="float64"),
    Recipe(1, 32, optimizer("sgd"), dtype="float64", augmentation=everything),
]
networks = [*specimens(zoo.GREY, 10), zoo.get("classic"), zoo.get("cnn")]
for network in networks:
    for recipe in recipes:
        planner = BatchPlanner(network, recipe, len(digits))
        engines = [registry.create(name, network, recipe) for name in ("numpy", "numba")]
        start = state.initial(network, recipe)
        tolerances = lockstep.Tolerances.of(network, recipe)
        plans = islice(planner.singles(), 3)
        *_, outcome = lockstep.walk(*engines, digits, plans, start, tolerances)
        if outcome.divergence:
            sys.exit(f"{network.name}: {outcome.divergence}")
        engines[1].logits(engines[1].upload(digits))

kernels = {
    f"{name}.{attribute}": value
    for name, module in sys.modules.items()
    if name.startswith("triptych.engines.numba.kernels")
    for attribute, value in vars(module).items()
    if isinstance(value, compilation.ParallelKernel)
}
print("with threads:", sum(bool(kernel.shared.signatures) for kernel in kernels.values()))
print("never called:", *[n for n, kernel in kernels.items() if not kernel.shared.signatures])
print("without:", *[n for n, kernel in kernels.items() if kernel.alone.signatures])
"""


def test_every_kernel_is_proved_with_two_threads():
    environment = {
        **os.environ,
        "NUMBA_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROVING],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    called, never, alone = done.stdout.splitlines()
    assert int(called.rpartition(" ")[2]) >= 20
    assert never == "never called:"
    assert alone == "without:"
