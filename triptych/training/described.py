"""Networks and recipes that a user names: a name of this package, widths, or a JSON file."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ..core import files
from ..errors import SpecError, one_line, suggest
from ..spec import zoo
from ..spec.network import Network

if TYPE_CHECKING:
    from ..data.dataset import Dataset

LARGEST_JSON = 4 * 2**20  # bytes of a network or recipe; those of this package take a few thousand


def is_file(name: str | None) -> TypeGuard[str]:
    """Return whether a text names a JSON file, and not something of this package."""
    return name is not None and name.endswith(".json")


def named_network(name: str, dataset: "Dataset | None" = None) -> Network:
    """Return a network of the zoo, for the samples and classes of a data set if one is given.

    Raises
    ------
    SpecError
        If the name is unknown, or the network does not fit the data.
    """
    if name not in zoo.ZOO:
        raise SpecError(
            f"network {name!r} is unknown; {suggest(name, zoo.ZOO)} (for other "
            "widths: --hidden 128,64)"
        )
    if dataset and dataset.table is not None:
        _refuse_windows(zoo.get(name))  # before it is built for rows, which it does not fit
    return zoo.get(name, **_built_for(dataset))


def dense_network(
    widths: Sequence[int], dropout: float = 0.0, dataset: "Dataset | None" = None
) -> Network:
    """Return a network of dense layers.

    Parameters
    ----------
    widths : sequence of int
        Units of each hidden layer.
    dropout : float
        The rate of the dropout after each hidden layer, in [0, 1).
    dataset : Dataset, optional
        The network is built for its samples and classes.
    """
    name = "-".join(map(str, ["dense", *widths]))
    return zoo.dense(name, widths, dropout, **_built_for(dataset))


def network_from_file(
    name: str, like: str | None = None, dataset: "Dataset | None" = None
) -> Network:
    """Return the network in a JSON file, which must fit the data.

    Parameters
    ----------
    name : str
        The path of the file.
    like : str, optional
        The framework whose defaults hold for what the file leaves out.
    dataset : Dataset, optional
        The data that the network must fit.
    """
    data = read_json(Path(name))
    if like is not None and isinstance(data, dict):
        data = {"like": like} | data
    with naming(name):
        network = Network.from_json(data)
    if dataset:
        network.check_fits(dataset.shape, len(dataset.classes))
    return network


def recipe_json(name: str) -> Any:
    """Return a named recipe, or the one in a file, in the form that `Recipe.from_json` reads."""
    return read_json(Path(name)) if is_file(name) else zoo.recipe(name)


def _built_for(dataset: "Dataset | None") -> dict[str, Any]:
    if dataset is None:
        return {}
    return {"shape": dataset.shape, "classes": len(dataset.classes)}


def _refuse_windows(network: Network) -> None:
    """Raise `SpecError` if a network needs neighbouring pixels, which a table does not have."""
    if network.has_windows:
        raise SpecError(
            f"network {network.name!r} has convolutions or pooling, for images; the data is a "
            "table: use --hidden 16, or --network mlp (a CSV of images: --shape HxW)"
        )


@contextmanager
def naming(name: str | None) -> Generator[None]:
    """Put the name of a JSON file before what is wrong in it."""
    try:
        yield
    except SpecError as error:
        if not is_file(name):
            raise
        raise SpecError(f"{one_line(name, 100)}: {error}") from None


def read_json(path: Path) -> Any:
    """Return what a JSON file of a user holds; it may be damaged, huge or a pipe."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise SpecError(f"{path}: not JSON ({error})") from None
    except RecursionError:
        raise SpecError(f"{path}: brackets are nested too deeply") from None


def read_text(path: Path) -> str:
    """Return the text of a description: a regular file in UTF-8 of at most 4 MiB.

    Raises
    ------
    SpecError
        If the file cannot be read, is too large, or is not in UTF-8.
    """
    try:
        with files.opened(path) as file:
            content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise SpecError(
                f"{path}: a file of at most {LARGEST_JSON // 2**20} MiB is needed, and this one "
                f"has {path.stat().st_size:,} bytes"
            )
        return content.decode()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not a text in UTF-8 ({error})") from None
