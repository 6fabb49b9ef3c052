"""Which array of a file is which parameter of a network.

The arrays of a file belong to modules: what comes before the last dot or slash of their names. A
module is a layer of the network if both are of the same kind and all shapes agree, in the layout of
the framework. Modules of the same shapes are told apart by their names or, where a program wrote
them in that order, by the order of the file. Where neither decides, the user must.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.layout import Layout, canonical_pattern, to_native
from ..data.readers.text import listed
from ..errors import TriptychError, counted, one_line
from ..spec.network import Network
from ..spec.placement import Parameter
from .arrays import StoredArray

LEAVES = {
    "torch": {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "running_mean": "running_mean",
        "running_variance": "running_var",
    },
    "keras": {
        "kernel": "kernel",
        "bias": "bias",
        "gamma": "gamma",
        "beta": "beta",
        "running_mean": "moving_mean",
        "running_variance": "moving_variance",
    },
}
IGNORED = ("num_batches_tracked",)  # PyTorch's counter of training steps


@dataclass(frozen=True)
class MappedArray:
    """One array of a file, and the parameter that it is.

    Attributes
    ----------
    array : StoredArray
        In the file.
    parameter : Parameter
        In the network.
    pattern : str
        The einops pattern from the framework's layout to the canonical one; empty if they agree.
    """

    array: StoredArray
    parameter: Parameter
    pattern: str

    def __str__(self) -> str:
        sizes = ", ".join(f"{axis}={length}" for axis, length in self.parameter.sizes)
        how = "as it is"
        if self.pattern:
            how = f"{self.pattern}, {sizes}" if sizes else self.pattern
        return (
            f"{one_line(self.array.name, 80)} {self.array.shape} → {self.parameter.name} "
            f"{tuple(self.parameter.shape)}: {how}"
        )


@dataclass(frozen=True)
class WeightMapping:
    """All arrays of a network, and what is not certain of them."""

    arrays: list[MappedArray]
    warnings: list[str]


@dataclass(frozen=True)
class Module:
    """The arrays of a file whose names have the same beginning, by the end of their names."""

    name: str
    arrays: dict[str, StoredArray]

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The name and shape of each array, sorted: what a layer must have, too."""
        return tuple(sorted((leaf, array.shape) for leaf, array in self.arrays.items()))


@dataclass(frozen=True)
class LayerArrays:
    """The arrays of a layer in the network, as the framework would store them.

    Attributes
    ----------
    name : str
        Of the layer.
    place : int
        The layer's place in the order of computation.
    parameters : dict of str to Parameter
        By the end of the name that an array has in the framework.
    shapes : tuple of (str, shape)
        As in `Module`.
    """

    name: str
    place: int
    parameters: dict[str, Parameter]
    shapes: tuple[tuple[str, tuple[int, ...]], ...]


def framework_of(arrays: Mapping[str, StoredArray]) -> str | None:
    """Return by whose conventions arrays are named: ``torch``, ``keras``, or None."""
    leaves = {_split(name)[1] for name in arrays}
    of_keras = leaves & {"kernel", "gamma", "beta", "moving_mean", "moving_variance"}
    of_torch = leaves & {"weight", "running_mean", "running_var"}
    if bool(of_keras) == bool(of_torch):
        return None
    return "keras" if of_keras else "torch"


def has_shapes_of(
    network: Network, arrays: Mapping[str, StoredArray], framework: str, layout: Layout
) -> bool:
    """Return whether the modules of a file and the layers of a network have the same shapes.

    The parameters are those of `map_arrays`.
    """
    modules = Counter(module.shapes for module in _modules(arrays))
    layers = _layers(network, LEAVES[framework], layout)
    return modules == Counter(layer.shapes for layer in layers)


def map_arrays(
    network: Network,
    arrays: Mapping[str, StoredArray],
    framework: str,
    layout: Layout,
    *,
    ordered: bool,
    chosen: Mapping[str, str] | None = None,
) -> WeightMapping:
    """Return which array is which parameter.

    Parameters
    ----------
    network : Network
        The network whose weights the file holds.
    arrays : dict of str to StoredArray
        The arrays of the file, in its order.
    framework : str
        ``torch`` or ``keras``: whose names and layout the arrays have.
    layout : dict of str to str
        The framework's einops patterns; see `triptych.core.layout`.
    ordered : bool
        Whether the order of the file is that of the layers.
    chosen : dict of str to str, optional
        Layers by the names of modules, as the user has decided.

    Raises
    ------
    TriptychError
        If arrays are missing, superfluous or of another shape, or if it is open which is which.
    """
    modules = _modules(arrays)
    layers = _layers(network, LEAVES[framework], layout)
    warnings: list[str] = []
    pairs = _chosen_pairs(modules, layers, chosen or {})
    left = [module for module in modules if module.name not in pairs]
    taken = {layer.name for layer in pairs.values()}
    for shapes in dict.fromkeys(layer.shapes for layer in layers):
        alike = [layer for layer in layers if layer.shapes == shapes and layer.name not in taken]
        same = [module for module in left if module.shapes == shapes]
        if len(alike) != len(same):
            raise TriptychError(_unmatched(network, left, layers, pairs))
        pairs |= _paired(same, alike, warnings, ordered=ordered)
    if len(pairs) < len(modules):
        raise TriptychError(_unmatched(network, left, layers, pairs))
    warnings += _contradictions(pairs, framework)
    mapped = [
        MappedArray(module.arrays[leaf], parameter, canonical_pattern(layout, parameter.role))
        for module in sorted(modules, key=lambda module: pairs[module.name].place)
        for leaf, parameter in pairs[module.name].parameters.items()
    ]
    return WeightMapping(mapped, warnings)


def _split(name: str) -> tuple[str, str]:
    """Return the module and the leaf of an array's name."""
    match = re.fullmatch(r"(.*)[./]([^./]+)", name)
    return (match[1], match[2]) if match else ("", name)


def _modules(arrays: Mapping[str, StoredArray]) -> list[Module]:
    """Return the modules of a file, in the order of their first arrays."""
    modules: dict[str, Module] = {}
    for name, array in arrays.items():
        module, leaf = _split(name)
        if leaf in IGNORED:
            continue
        modules.setdefault(module, Module(module, {})).arrays[leaf] = array
    return list(modules.values())


def _layers(network: Network, leaves: Mapping[str, str], layout: Layout) -> list[LayerArrays]:
    """Return the layers with arrays, in the order of computation."""
    layers: dict[str, dict[str, Parameter]] = {}
    for parameter in (*network.parameters, *network.buffers):
        name = parameter.name.partition("/")[0]
        leaf = leaves.get(parameter.leaf)
        if leaf is None:
            raise TriptychError(
                f"weights of the layer {name!r} cannot be imported: it is of no kind that the "
                "frameworks store in the same way"
            )
        layers.setdefault(name, {})[leaf] = parameter
    return [
        LayerArrays(name, place, parameters, _native_shapes(parameters, layout))
        for place, (name, parameters) in enumerate(layers.items())
    ]


def _native_shapes(
    parameters: Mapping[str, Parameter], layout: Layout
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the shape of each array as the framework stores it."""
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for leaf, parameter in parameters.items():
        zeros = np.broadcast_to(np.uint8(0), parameter.shape)
        native = to_native(layout, parameter.role, zeros, parameter.sizes)
        shapes.append((leaf, native.shape))
    return tuple(sorted(shapes))


def _chosen_pairs(
    modules: Sequence[Module], layers: Sequence[LayerArrays], chosen: Mapping[str, str]
) -> dict[str, LayerArrays]:
    """Return the layers of the modules that the user has decided on."""
    by_name = {layer.name: layer for layer in layers}
    known = {module.name: module for module in modules}
    pairs: dict[str, LayerArrays] = {}
    for module, layer in chosen.items():
        if module not in known:
            raise TriptychError(
                f"--map {module}={layer}: the file has no arrays {module!r}; it has "
                f"{listed(list(known))}"
            )
        if layer not in by_name:
            raise TriptychError(
                f"--map {module}={layer}: no layer {layer!r} with weights; there are "
                f"{listed(list(by_name))}"
            )
        if by_name[layer] in pairs.values():
            raise TriptychError(f"--map {module}={layer}: the layer is named twice")
        if known[module].shapes != by_name[layer].shapes:
            raise TriptychError(
                f"--map {module}={layer}: the file has {_described(known[module].shapes)}, the "
                f"layer needs {_described(by_name[layer].shapes)}"
            )
        pairs[module] = by_name[layer]
    return pairs


def _paired(
    modules: list[Module], layers: list[LayerArrays], warnings: list[str], *, ordered: bool
) -> dict[str, LayerArrays]:
    """Pair modules and layers that all have the same shapes."""
    by_name = {layer.name: layer for layer in layers}
    last_words = [_last_word(module.name) for module in modules]
    if len(layers) == 1 or set(last_words) == set(by_name):
        if len(layers) == 1:
            return {modules[0].name: layers[0]}
        return {
            module.name: by_name[word] for module, word in zip(modules, last_words, strict=True)
        }
    by_number = sorted(modules, key=lambda module: _natural(module.name))
    names = [one_line(module.name, 40) for module in by_number]
    numbered = len({_stem(module.name) for module in modules}) == 1
    if ordered:
        if numbered and by_number != modules:
            warnings.append(
                f"{listed(names)} have the same shapes and are in another order in the file; "
                "the order of the file was taken"
            )
        by_number = modules
    elif not numbered:
        raise TriptychError(
            f"{listed(names)} have the same shapes, and their names do not tell their order; "
            f"decide it: --map {names[0]}={layers[0].name}"
        )
    elif not _are_places([module.name for module in modules]):
        warnings.append(
            f"{listed(names)} have the same shapes; they were taken in the order of their names "
            f"for {listed([layer.name for layer in layers])}; if that is wrong: --map"
        )
    return {module.name: layer for module, layer in zip(by_number, layers, strict=True)}


def _last_word(name: str) -> str:
    return re.split(r"[./]", name)[-1]


def _stem(name: str) -> str:
    """Return a name without its numbers: modules with the same stem are numbered."""
    return re.sub(r"_?\d+", "", name)


def _are_places(names: Sequence[str]) -> bool:
    """Return whether names are places in a Sequential: they differ in whole words, all numbers."""
    words = [re.split(r"[./]", name) for name in names]
    if len({len(each) for each in words}) > 1:
        return False
    for column in zip(*words, strict=True):
        differ = len(set(column)) > 1
        if differ and not all(word.isdecimal() for word in column):
            return False
    return True


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts names with their numbers as numbers."""
    parts = re.split(r"(\d+)", name)
    return [
        (text, int(number[:18]) if number else -1)
        for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True)
    ]


def _contradictions(pairs: Mapping[str, LayerArrays], framework: str) -> list[str]:
    """Return warnings about numbered names that are in another order than the layers.

    Raises
    ------
    TriptychError
        If they are places in a Sequential of PyTorch, which computes in that order.
    """
    warnings: list[str] = []
    stems: dict[str, list[str]] = {}
    for name in sorted(pairs, key=_natural):
        stems.setdefault(_stem(name), []).append(name)
    for names in stems.values():
        places = [pairs[name].place for name in names]
        if places == sorted(places):
            continue
        shown = listed(names)
        layers = listed([pairs[name].name for name in names])
        if framework == "torch" and _are_places(names):
            raise TriptychError(
                f"{shown} fit {layers} by their shapes, which is another order than that of their "
                "numbers; the network in the file is another one"
            )
        warnings.append(
            f"{shown} fit {layers} by their shapes, which is another order than that of their names"
        )
    return warnings


def _unmatched(
    network: Network,
    modules: Sequence[Module],
    layers: Sequence[LayerArrays],
    pairs: Mapping[str, LayerArrays],
) -> str:
    """Return which arrays fit no layer, and which layer has none."""
    needed = [layer for layer in layers if layer not in pairs.values()]
    present = [module for module in modules if module.name not in pairs]
    parts: list[str] = []
    for shapes in dict.fromkeys(module.shapes for module in present):
        names = [module.name for module in present if module.shapes == shapes]
        count = sum(layer.shapes == shapes for layer in needed)
        if len(names) > count:
            parts.append(
                f"the file has {_described(shapes)} in {listed(names)}, and network "
                f"{network.name!r} has {counted(count, 'such layer')} left"
            )
            break
    for shapes in dict.fromkeys(layer.shapes for layer in needed):
        names = [layer.name for layer in needed if layer.shapes == shapes]
        count = sum(module.shapes == shapes for module in present)
        if len(names) > count:
            parts.append(f"{listed(names)} needs {_described(shapes)}")
            break
    return "; ".join(parts)


def _described(shapes: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{one_line(leaf, 30)} {shape}" for leaf, shape in shapes[:6])
