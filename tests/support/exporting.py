"""Networks with random weights that are exported, and exports that are run in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support.splits import random_split

from triptych.core.split import Split
from triptych.core.state import State, initial
from triptych.data import loading
from triptych.exporting.model import TrainedModel
from triptych.exporting.process import BATCH_SIZES
from triptych.exporting.targets import Target
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe
from triptych.training import checkpoint

SAMPLES = 40


def random_state(network: Network, seed: int = 0) -> State:
    """Return weights and buffers in which nothing is zero, one or symmetric by chance."""
    state = initial(network, Recipe(1))
    rng = np.random.default_rng(seed)
    for name, array in state.items():
        leaf = name.rpartition("/")[2]
        if leaf == "running_variance":
            state[name] = rng.uniform(0.5, 2.0, array.shape).astype(np.float32)
        elif leaf == "gamma":
            state[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        elif leaf in ("bias", "beta", "running_mean"):
            state[name] = rng.normal(0, 0.3, array.shape).astype(np.float32)
    return state


def model_of(network: Network, state: State | None = None, engine: str = "numpy") -> TrainedModel:
    """Return a network with random weights as it is exported, with random calibration images."""
    return TrainedModel(
        network=network,
        recipe=Recipe(1),
        state=random_state(network) if state is None else state,
        engine=engine,
        sha256="",
        calibration=samples_of(network, 50, seed=1).pixels("float32"),
        classes=[str(number) for number in range(network.classes)],
        input={},
    )


def samples_of(network: Network, count: int = SAMPLES, seed: int = 0) -> Split:
    """Return random samples of a network."""
    return random_split(count, network.input_shape, network.classes, seed)


def save_run(folder: Path, network: Network, data: str | None = "digits", seed: int = 0) -> Path:
    """Write a run folder of a network with random weights; return it."""
    provenance: dict[str, Any] = {"engine": "numpy"}
    if data is not None:
        provenance |= {"source": data, "data": loading.load(data).describe()}
    path = folder / "last" / checkpoint.STATE
    checkpoint.save_state(path, random_state(network, seed), network, Recipe(1), provenance)
    return folder


def run_in_this_process(
    target: Target, folder: Path, images: Any, *_: Any, layers: Sequence[str] = ()
) -> tuple[State, str]:
    """Do what `run_exported` does, without a fresh process, whose imports take long."""
    model = target.make_exporter().load(folder)
    if layers:
        return model.layer_outputs(images, list(layers)), model.version
    logits: State = {}
    for size in BATCH_SIZES:
        starts = range(0, len(images), size)
        logits[str(size)] = np.concatenate([model.logits(images[i : i + size]) for i in starts])
    return logits, model.version
