"""Importing weights that another program trained: from a file to a run folder."""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files, metrics, registry
from ..core.layout import to_canonical
from ..core.memory import check_memory
from ..core.state import State, initial
from ..data.dataset import Dataset
from ..errors import TriptychError, one_line, suggest
from ..spec.conventions import LAYERS
from ..spec.layers import Residual
from ..spec.network import Network
from ..spec.placement import Layer, with_inner
from ..spec.recipe import Recipe
from ..training.checkpoint import STATE, save_state
from ..training.inference import compute_logits
from ..training.run_folder import Run
from ..version import __version__
from .arrays import WeightsFile, open_weights
from .mapping import MappedArray, framework_of, map_arrays

ENGINES = {"torch": "torch", "keras": "tensorflow"}  # whose layout each framework's arrays have
BYTES_OF_THE_WIDEST_FLOAT = 8


@dataclass(frozen=True)
class ImportedWeights:
    """Weights of another program as the state of a network.

    Attributes
    ----------
    path : Path
        The file.
    sha256 : str
        Its digest.
    framework : str
        ``torch`` or ``keras``.
    network : Network
        What the weights are of.
    recipe : Recipe
        The default one in float32; how the network was trained is not known.
    state : dict of str to ndarray
        Weights and buffers, in the canonical layout.
    mapping : list of MappedArray
        Which array of the file became which parameter.
    warnings : list of str
        What is not certain of the mapping.
    """

    path: Path
    sha256: str
    framework: str
    network: Network
    recipe: Recipe
    state: State
    mapping: list[MappedArray]
    warnings: list[str]

    @property
    def engine(self) -> str:
        """The name of the engine of the framework."""
        return ENGINES[self.framework]

    @property
    def settings(self) -> list[str]:
        """Settings of layers that frameworks choose differently and that no file of weights holds.

        A sentence for each layer, for example ``norm1: BatchNorm with epsilon 0.001``.
        """
        sentences: list[str] = []
        for layer in with_inner(self.network.layers):
            names = [name for name in _settings_of(layer) if hasattr(layer, name)]
            if names and not isinstance(layer, Residual):
                values = ", ".join(f"{name} {getattr(layer, name):g}" for name in names)
                sentences.append(f"{layer.name}: {type(layer).__name__} with {values}")
        return sentences


def _settings_of(layer: Layer) -> list[str]:
    """Return the settings on which the output depends and the frameworks' defaults differ."""
    kind = type(layer).__name__
    defaults = [LAYERS[framework].get(kind, {}) for framework in ENGINES]
    shared = [name for name in defaults[0] if defaults[0][name] != defaults[-1].get(name)]
    return [name for name in shared if name in ("epsilon", "slope")]


def read_weights(path: Path, network: Network) -> WeightsFile:
    """Read a file of weights that may be those of a network; see `open_weights`."""
    count = sum(prod(p.shape) for p in (*network.parameters, *network.buffers))
    return open_weights(path, BYTES_OF_THE_WIDEST_FLOAT * count)


def framework_of_file(weights: WeightsFile, named: str | None) -> str:
    """Return whose conventions a file follows: the framework that is named, or by its names.

    Raises
    ------
    TriptychError
        If the name is unknown, or contradicts those in the file.
    """
    if named is not None and named not in ENGINES:
        raise TriptychError(f"--format {named!r} is unknown; {suggest(named, ENGINES)}")
    seen = framework_of(weights.arrays)
    if seen is None and named is None:
        raise TriptychError(
            f"{weights.path}: the names of its arrays are neither those of PyTorch (weight) nor of "
            "Keras (kernel); say which: --format torch or --format keras"
        )
    if None not in (seen, named) and seen != named:
        raise TriptychError(
            f"{weights.path}: its arrays are named as {seen} names them, not as {named}; leave "
            "--format out"
        )
    return named or seen or "torch"


def import_weights(
    weights: WeightsFile, network: Network, framework: str, chosen: dict[str, str] | None = None
) -> ImportedWeights:
    """Return the arrays of a file as the state of a network.

    Parameters
    ----------
    weights : WeightsFile
        What `read_weights` returned for this network.
    network : Network
        The network whose weights the file holds.
    framework : str
        ``torch`` or ``keras``.
    chosen : dict of str to str, optional
        Layers by the names of modules in the file, where names and shapes leave it open.

    Raises
    ------
    TriptychError
        If the file is damaged or does not fit the network.
    """
    recipe = Recipe(epochs=1)
    check_memory(network, recipe)
    layout = registry.entry(ENGINES[framework]).layout
    try:
        mapping = map_arrays(
            network,
            weights.arrays,
            framework,
            layout,
            ordered=weights.ordered,
            chosen=chosen,
        )
    except TriptychError as error:
        raise TriptychError(f"{weights.path}: {error}") from None
    state = initial(network, recipe)
    with files.refusing(weights.path, "weights of float32 numbers"):
        for mapped in mapping.arrays:
            state[mapped.parameter.name] = _converted(mapped, weights.read(mapped.array), layout)
    return ImportedWeights(
        path=weights.path,
        sha256=weights.sha256,
        framework=framework,
        network=network,
        recipe=recipe,
        state=state,
        mapping=mapping.arrays,
        warnings=mapping.warnings,
    )


def _converted(mapped: MappedArray, array: np.ndarray, layout: dict[str, str]) -> np.ndarray:
    """Return an array in the canonical layout and in float32."""
    name = one_line(mapped.array.name, 60)
    if array.dtype.kind != "f":
        raise TriptychError(f"array {name!r} is of type {array.dtype}, not of floats")
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise TriptychError(f"array {name!r} holds NaN, infinities or numbers beyond float32")
    if mapped.parameter.leaf == "running_variance" and (narrow < 0).any():
        raise TriptychError(f"array {name!r} holds a negative variance")
    return to_canonical(layout, mapped.parameter.role, narrow, mapped.parameter.sizes)


def save_imported(
    imported: ImportedWeights, runs: Path, dataset: Dataset | None = None
) -> tuple[Path, dict[str, Any]]:
    """Write a run folder, and test the network if there is data.

    Parameters
    ----------
    imported : ImportedWeights
        What is saved.
    runs : Path
        Where the run folder is made.
    dataset : Dataset, optional
        The data that the network was trained with. Its classes are recorded, and the network is
        tested on its test split.

    Returns
    -------
    tuple of (Path, dict)
        The run folder, and what its results.json holds.
    """
    results = _results(imported, dataset)
    provenance: dict[str, Any] = {
        "triptych": __version__,
        "engine": imported.engine,
        "imported": {"file": imported.path.name, "sha256": imported.sha256},
    }
    if dataset is not None:
        provenance |= dataset.provenance()
    with Run.create(runs, "import", imported.framework, imported.network.name) as run:
        save_state(
            run.folder / STATE, imported.state, imported.network, imported.recipe, provenance
        )
        run.save_results(results)
    return run.folder, results


def _results(imported: ImportedWeights, dataset: Dataset | None) -> dict[str, Any]:
    network = imported.network
    tested: dict[str, Any] = {"data": None, "accuracy": None, "confusion": None}
    if dataset is not None:
        network.check_fits(dataset.shape, len(dataset.classes))
        logits = compute_logits(
            network,
            imported.recipe,
            imported.state,
            dataset.test.images,
            engine=registry.REFERENCE,
        )
        predicted = metrics.predictions(logits)
        tested = metrics.tested(predicted, dataset.test.labels, len(dataset.classes))
        tested["data"] = dataset.describe()
    return {
        "kind": "import",
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "title": f"{network.name}: {network.architecture}",
        "network": network.to_json(),
        "parameters": network.parameter_count,
        "engine": imported.engine,
        "label": registry.entry(imported.engine).label,
        "file": imported.path.name,
        "file_sha256": imported.sha256,
        "format": imported.framework,
        "mapping": [str(mapped) for mapped in imported.mapping],
        "settings": imported.settings,
        "warnings": imported.warnings,
        **tested,
    }
