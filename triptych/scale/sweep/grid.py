"""What a sweep trains: engines × data sets × networks × recipes × seeds.

A grid is written in TOML, or made in Python. `Grid.load` reads its data sets, and
`LoadedGrid.cells` returns the single trainings.
"""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...core import registry
from ...core.selection import EngineSpec, default_names, named_specs
from ...data import loading
from ...data.dataset import Dataset
from ...data.reading import Options
from ...errors import SpecError, TriptychError, one_line, suggest
from ...spec import zoo
from ...spec.network import Network
from ...spec.recipe import Recipe
from ...spec.validation import check_flag, check_keys, check_whole
from ...training.described import (
    dense_network,
    is_file,
    named_network,
    naming,
    network_from_file,
    read_text,
    recipe_json,
)
from .summary import cell_name

Json = dict[str, Any]

MOST_SEEDS = 100_000  # of one grid
LETTERS_OF_A_KEY = 16  # hexadecimal digits of the SHA-256 of a cell's content
OF_A_NETWORK = {"name", "hidden", "dropout"}  # keys of a network that is a table
OF_DATA = {
    "name",
    "source",
    "seed",
    "size",
    "label",
    "shape",
    "white",
    "skip_unreadable",
    "stream",
}


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes
    ----------
    row : EngineSpec
        The engine and its backend.
    network : Network
        What is trained.
    recipe : Recipe
        How it is trained, with the seed.
    recipe_name, data_name : str
        What the recipe and the data set are called in tables.
    data_digest : str
        The SHA-256 of both splits, in hexadecimal digits.
    threads : int
        Threads of the engine.
    timed : bool
        Whether it runs alone on its node.
    """

    row: EngineSpec
    network: Network
    recipe: Recipe
    recipe_name: str
    data_name: str
    data_digest: str
    threads: int
    timed: bool

    @cached_property
    def key(self) -> str:
        """What identifies the training: the beginning of the SHA-256 of all that decides it.

        Two cells with the same key compute the same, so a result is not computed again.
        """
        content = {
            "engine": self.row.engine,
            "backend": self.row.backend,
            "network": self.network.to_json(),
            "recipe": self.recipe.to_json(),
            "data": self.data_digest,
            "threads": self.threads,
            "timed": self.timed,
        }
        text = json.dumps(content, sort_keys=True)
        return sha256(text.encode()).hexdigest()[:LETTERS_OF_A_KEY]

    def labels(self) -> Json:
        """Return the columns that tell what the cell is, as a JSON object."""
        return {
            "key": self.key,
            "engine": self.row.engine,
            "backend": self.row.backend,
            "label": self.row.label,
            "network": self.network.name,
            "recipe": self.recipe_name,
            "data": self.data_name,
            "seed": self.recipe.seed,
            "threads": self.threads,
            "timed": self.timed,
            "parameters": self.network.parameter_count,
        }

    def to_json(self) -> Json:
        """Return all that a worker needs except the data, as a JSON object."""
        described = {"network_json": self.network.to_json(), "recipe_json": self.recipe.to_json()}
        return self.labels() | described | {"data_digest": self.data_digest}


@dataclass(frozen=True)
class Grid:
    """What is trained: every engine with every data set, network, recipe and seed.

    Attributes
    ----------
    networks : sequence of str, dict or Network
        Names, ``.json`` files, tables ``{"hidden": [128, 64], "dropout": 0.2, "name": "wide"}``, or
        networks.
    recipes : sequence of str, dict or Recipe
        Names, ``.json`` files, tables with the keys of a recipe file and perhaps a ``name``, or
        recipes. Their seed is replaced.
    data : sequence of str, dict or Dataset
        Names, paths, tables ``{"source": "a.csv", "label": "species"}`` with the options of
        `triptych.load_data` and perhaps a ``name``, or data sets.
    engines : sequence of str, optional
        ``numpy``, ``torch``, ``tensorflow/xla`` for example; all that are installed by default.
    backends : str
        ``default``, or ``all`` for every backend of an engine that is named without one.
    seeds : int or sequence of int
        How many seeds, from 0; or the seeds.
    timed : bool or sequence of int
        Whether all cells are timed; or the seeds of those that are.
    threads : int
        Threads of every cell.
    name : str
        The end of the folder's name.
    folder : Path
        Where relative paths begin.
    """

    networks: Sequence[Any]
    recipes: Sequence[Any]
    data: Sequence[Any]
    engines: Sequence[str] | None = None
    backends: str = "default"
    seeds: int | Sequence[int] = 1
    timed: bool | Sequence[int] = False
    threads: int = 1
    name: str = "grid"
    folder: Path = field(default=Path(), compare=False)

    def __post_init__(self) -> None:
        for dimension in ("networks", "recipes", "data"):
            _check_list(dimension, getattr(self, dimension), "give at least one")
        if self.engines is not None:
            _check_list("engines", self.engines, "give at least one, or leave it out for all")
        if self.backends not in ("default", "all"):
            raise SpecError(f"sweep: backends must be 'default' or 'all', not {self.backends!r}")
        check_whole("sweep", "threads", self.threads, 1)
        if not isinstance(self.name, str) or not self.name.strip():
            raise SpecError(f"sweep: name must be a text, not {self.name!r}")
        # What is wrong is reported before data is read, which may take long.
        _ = self.timed_seeds
        _ = self.rows
        self.named_recipes()
        self.named_networks()
        for each in self.data:
            if not isinstance(each, Dataset):
                _data_values(each)

    @classmethod
    def read(cls, path: str | Path) -> "Grid":
        """Read a grid from a TOML file; relative paths in it begin at its folder.

        Raises
        ------
        SpecError
            If the file cannot be read, is not TOML, or describes no grid. The message names the
            file, and suggests the closest key where one is unknown.
        """
        path = Path(path)
        try:
            data = tomllib.loads(read_text(path))
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{path}: not TOML ({one_line(error, 100)})") from None
        except RecursionError:
            raise SpecError(f"{path}: brackets are nested too deeply") from None
        known = {each.name for each in fields(cls)} - {"folder"}
        needed = {"networks", "recipes", "data"}
        try:
            values = check_keys(data, known, "sweep", known - needed)
            named: Json = {"name": path.stem} | values
            return cls(**named, folder=path.parent)
        except TriptychError as error:
            raise type(error)(f"{one_line(path, 100)}: {error}") from None

    @property
    def rows(self) -> list[EngineSpec]:
        """The engines with their backends."""
        names = self.engines
        if names is None:
            names = [name for name in default_names() if registry.entry(name).installed]
        return named_specs(names, self.backends == "all")

    @property
    def seed_numbers(self) -> list[int]:
        """The seeds."""
        if isinstance(self.seeds, int):
            check_whole("sweep", "seeds", self.seeds, 1, most=MOST_SEEDS)
            return list(range(self.seeds))
        _check_list("seeds", self.seeds, "give how many, such as 5, or a list of seeds")
        return _seeds("seeds", self.seeds, "give how many, such as 5, or a list of seeds")

    @property
    def timed_seeds(self) -> list[int]:
        """The seeds of the cells that are timed."""
        seeds = self.seed_numbers
        if isinstance(self.timed, bool):
            return seeds if self.timed else []
        chosen = _seeds("timed", self.timed, "give true, false or a list of seeds")
        for seed in chosen:
            if seed not in seeds:
                known = ", ".join(map(str, seeds))
                raise SpecError(f"sweep: timed names the seed {seed}, and the seeds are {known}")
        return chosen

    def named_recipes(self) -> dict[str, Recipe]:
        """Return the recipes by their names.

        Raises
        ------
        SpecError
            If one makes no sense, or two have the same name.
        """
        return _by_name("recipes", map(self._recipe, self.recipes))

    def named_networks(self, dataset: Dataset | None = None) -> dict[str, Network]:
        """Return the networks, for a data set if one is given, by their names.

        Raises
        ------
        SpecError
            If one makes no sense or does not fit the data, or two have the same name.
        """
        networks = [self._network(each, dataset) for each in self.networks]
        return _by_name("networks", ((network.name, network) for network in networks))

    def load(self, on_data: Callable[[str], Any] | None = None) -> "LoadedGrid":
        """Read the data sets.

        Parameters
        ----------
        on_data : callable, optional
            Called with the name or path of each data set before it is read.

        Raises
        ------
        TriptychError
            If one cannot be read, or a network or recipe does not fit it.
        """
        datasets = _by_name("data", (self._dataset(each, on_data) for each in self.data))
        return LoadedGrid(self, datasets)

    def to_json(self) -> Json:
        """Return the grid as a JSON object, for the record; objects are named, not described."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["folder"]
        return json.loads(
            json.dumps(values, default=lambda value: getattr(value, "name", repr(value)))
        )

    def _recipe(self, given: Any) -> tuple[str, Recipe]:
        if isinstance(given, Recipe):
            return summary(given), given
        if isinstance(given, str):
            path = self._path(given)
            name = path if is_file(given) else given
            data = recipe_json(name)
            with naming(name):
                return Path(given).stem, _seedless(data, given)
        if not isinstance(given, Mapping):
            raise SpecError(f"sweep: a recipe is a name, a .json file or a table, not {given!r}")
        values: Json = dict(given)
        name = values.pop("name", None)
        recipe = _seedless(values, name or "recipe")
        return _text("recipe", name, summary(recipe)), recipe

    def _network(self, given: Any, dataset: Dataset | None) -> Network:
        if isinstance(given, Network):
            if dataset is not None:
                given.check_fits(dataset.shape, len(dataset.classes))
            return given
        if isinstance(given, str):
            if is_file(given):
                return network_from_file(self._path(given), dataset=dataset)
            if given not in zoo.ZOO:
                raise SpecError(
                    f"sweep: network {given!r} is unknown; {suggest(given, zoo.ZOO)} (other "
                    "widths: { hidden = [128, 64] })"
                )
            return named_network(given, dataset)
        if not isinstance(given, Mapping):
            raise SpecError(f"sweep: a network is a name, a .json file or a table, not {given!r}")
        values = check_keys(given, OF_A_NETWORK, "network", {"name", "dropout"})
        widths = _numbers("hidden", values["hidden"], "give a list of widths, such as [128, 64]", 1)
        dropout = values.get("dropout", 0.0)
        network = dense_network(widths, dropout, dataset)
        usual = f"{network.name}-dropout-{dropout:g}" if dropout else network.name
        return replace(network, name=_text("network", values.get("name"), usual))

    def _dataset(self, given: Any, on_data: Callable[[str], Any] | None) -> tuple[str, Dataset]:
        if isinstance(given, Dataset):
            return given.name, given
        values = _data_values(given)
        source = self._path(values.pop("source"))
        name = values.pop("name", None)
        seed = values.pop("seed", 0)
        if on_data is not None:
            on_data(source)
        size = values.pop("size", None)
        options = Options(size=tuple(size) if isinstance(size, list) else size, **values)
        dataset = loading.load(source, seed, options)
        return dataset.name if name is None else name, dataset

    def _path(self, name: str) -> str:
        """Return a path as seen from the working directory; a name of this package as it is."""
        there = self.folder / Path(name).expanduser()
        return str(there) if is_file(name) or there.exists() else name


@dataclass(frozen=True)
class LoadedGrid:
    """A grid whose data sets are read.

    Attributes
    ----------
    grid : Grid
        What is trained.
    datasets : dict of str to Dataset
        The data sets by their names.
    """

    grid: Grid
    datasets: dict[str, Dataset]

    @property
    def by_digest(self) -> dict[str, Dataset]:
        """The data sets by the digests that the cells have."""
        return {digest_of(dataset): dataset for dataset in self.datasets.values()}

    def cells(self) -> list[Cell]:
        """Return every training, those of one engine together: a worker imports one framework.

        Raises
        ------
        SpecError
            If a network or a recipe does not fit a data set, or two cells are the same training.
        """
        grid = self.grid
        timed = set(grid.timed_seeds)
        described = [
            (network, recipe_name, recipe, data_name, digest_of(dataset))
            for data_name, dataset in self.datasets.items()
            for network in grid.named_networks(dataset).values()
            for recipe_name, recipe in grid.named_recipes().items()
        ]
        for network, recipe_name, recipe, *_ in described:
            _check_fits(network, recipe_name, recipe)
        cells = [
            Cell(
                row=row,
                network=network,
                recipe=replace(recipe, seed=seed),
                recipe_name=recipe_name,
                data_name=data_name,
                data_digest=digest,
                threads=grid.threads,
                timed=seed in timed,
            )
            for row in grid.rows
            for network, recipe_name, recipe, data_name, digest in described
            for seed in grid.seed_numbers
        ]
        _check_different(cells)
        return cells


def digest_of(dataset: Dataset) -> str:
    """Return the SHA-256 of both splits of a data set, in hexadecimal digits."""
    return sha256(f"{dataset.train.digest} {dataset.test.digest}".encode()).hexdigest()


def summary(recipe: Recipe) -> str:
    """Return what a recipe without a name is called: ``adam 0.001, batch 64, 5 epochs``."""
    batch = "full batch" if recipe.batch_size == "full" else f"batch {recipe.batch_size}"
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    return f"{recipe.optimizer.name} {recipe.optimizer.rate:g}, {batch}, {epochs}"


def _check_fits(network: Network, name: str, recipe: Recipe) -> None:
    try:
        recipe.check_fits(network)
    except SpecError as error:
        raise SpecError(f"recipe {name!r} with network {network.name!r}: {error}") from None


def _check_different(cells: Iterable[Cell]) -> None:
    """Raise `SpecError` if two cells with different names are the same training."""
    by_key: dict[str, Cell] = {}
    for cell in cells:
        other = by_key.setdefault(cell.key, cell)
        if other is not cell:
            names = [cell_name(each.labels()) for each in (other, cell)]
            raise SpecError(
                f"sweep: {names[0]} and {names[1]} are the same training; leave one of them out"
            )


def _data_values(given: Any) -> Json:
    """Return a table that describes a data set; raise `SpecError` if it makes no sense."""
    if isinstance(given, str):
        given = {"source": given}
    if not isinstance(given, Mapping):
        raise SpecError(f"sweep: data is a name, a path or a table, not {given!r}")
    values = check_keys(given, OF_DATA, "data", OF_DATA - {"source"})
    values["source"] = _text("data", values["source"], "")
    _text("data", values.get("name"), "")
    check_whole("data", "seed", values.get("seed", 0), 0)
    for name in ("skip_unreadable", "stream"):
        check_flag("data", name, values.get(name, False))
    return values


def _seedless(data: Any, name: str) -> Recipe:
    """Read a recipe, which must not name a seed: those of the sweep are used."""
    if isinstance(data, Mapping) and "seed" in data:
        raise SpecError(f"{name}: its seed would be replaced; leave it out, and give seeds")
    return Recipe.from_json(data)


def _check_list(dimension: str, value: Any, advice: str) -> None:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise SpecError(f"sweep: {dimension} must be a list, not {value!r}")
    if not value:
        raise SpecError(f"sweep: {dimension} is empty, so there is nothing to train; {advice}")


def _numbers(field: str, value: Any, advice: str, least: int = 0) -> list[int]:
    """Return a list of whole numbers; raise `SpecError` for anything else."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SpecError(f"sweep: {field} {value!r}: {advice}")
    for number in value:
        check_whole("sweep", field, number, least)
    return list(value)


def _seeds(field: str, value: Any, advice: str) -> list[int]:
    """Return a list of different seeds; raise `SpecError` for anything else."""
    numbers = _numbers(field, value, advice)
    if len(set(numbers)) < len(numbers):
        raise SpecError(f"sweep: {field} has a number twice: {numbers}")
    return numbers


def _text(what: str, value: Any, default: str) -> str:
    """Return the name that was given, or the default."""
    if value is None:
        return default
    if not isinstance(value, str) or not value.strip():
        raise SpecError(f"sweep: the name of {what} must be a text, not {value!r}")
    return value


def _by_name(dimension: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of pairs; raise `SpecError` if a name occurs twice."""
    named: dict[str, Any] = {}
    for name, value in pairs:
        if name in named:
            raise SpecError(
                f"sweep: {dimension} has {name!r} twice; leave one out, or give one of them a name"
            )
        named[name] = value
    return named
