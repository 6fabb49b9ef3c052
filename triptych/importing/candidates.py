"""Which networks a file of weights may be of, where the user has named none."""

from contextlib import suppress
from pathlib import Path

from ..core import registry
from ..data.dataset import Dataset
from ..data.readers.text import listed
from ..errors import SpecError
from ..spec import zoo
from ..spec.network import Network
from .arrays import TooLarge
from .mapping import has_shapes_of
from .weights import ENGINES, framework_of_file, read_weights


def advice(path: Path, framework: str | None, dataset: Dataset | None) -> str:
    """Return a line that says how to name the network of a file.

    Parameters
    ----------
    path : Path
        The file.
    framework : str, optional
        Whose names and layout its arrays have.
    dataset : Dataset, optional
        The data that the named networks are built for; by default each is built for its usual one.

    Raises
    ------
    TriptychError
        If the file cannot be read.
    """
    names = _fitting(path, framework, _named_networks(dataset))
    if names:
        return (
            f"{path}: the network is not named; the arrays have the shapes of {listed(names)}: add "
            f"--network {names[0]}"
        )
    built = "" if dataset else " as built without --data"
    return (
        f"{path}: the network is not named, and the arrays have the shapes of no network of "
        f"triptych train{built}; add --hidden 128,64 (dense layers) or --network network.json, "
        "which can begin as triptych show --network custom --as-json > network.json"
    )


def _named_networks(dataset: Dataset | None) -> list[Network]:
    """Return the networks that have names, as far as they can be built for the data."""
    if dataset is None:
        return [zoo.get(name) for name in zoo.ZOO]
    networks: list[Network] = []
    for name in zoo.ZOO:
        with suppress(SpecError):  # its windows may be larger than the images
            networks.append(zoo.get(name, dataset.shape, len(dataset.classes)))
    return networks


def _fitting(path: Path, framework: str | None, networks: list[Network]) -> list[str]:
    """Return the names of the networks whose layers have the shapes of a file's arrays."""
    largest = max(networks, key=lambda network: network.parameter_count)
    try:
        weights = read_weights(path, largest)
    except TooLarge:
        return []
    framework = framework_of_file(weights, framework)
    layout = registry.entry(ENGINES[framework]).layout
    return [
        network.name
        for network in networks
        if has_shapes_of(network, weights.arrays, framework, layout)
    ]
