"""The user's model: its modules, layers and tensors."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from ...observation import Settings
from .. import references
from ..adapter import ModelError
from .operations import module_settings, operation_of
from .weights import RECURRENT, Role, computes_as_its_base, kind_and_roles

CONTAINERS = (nn.ParameterList, nn.ParameterDict)
WHOLE_MODEL = "model"  # the path of a model that is one layer


@dataclass(frozen=True)
class PlacedLayer:
    """A layer at its place in the model.

    Attributes
    ----------
    path : str
        Its canonical path.
    module : Module
        The module; of a tensor outside of modules, an object with the attribute ``value``.
    kind : str
        The canonical kind.
    roles : tuple of Role
        Its weights.
    index : int
        The layer of a recurrent module with several layers.
    leaf : bool
        Whether a call of the module is one call, of which nothing inside is recorded.
    is_root : bool
        Whether the module is the whole model.
    functional : bool
        Whether the layer is a function of weights that no layer of PyTorch holds.
    settings : dict
        Of a function, its canonical settings.
    """

    path: str
    module: Any
    kind: str
    roles: tuple[Role, ...] = ()
    index: int = 0
    leaf: bool = True
    is_root: bool = False
    functional: bool = False
    settings: Settings = field(default_factory=dict[str, Any])

    def with_roles(self, roles: tuple[Role, ...]) -> "PlacedLayer":
        """Return the layer with other roles."""
        return replace(self, roles=roles)

    @property
    def type(self) -> str:
        """The class, as PyTorch calls it; ``function`` or ``Tensor`` if it has none."""
        if isinstance(self.module, nn.Module):
            return type(self.module).__name__
        return "function" if self.functional else "Tensor"

    @property
    def is_own(self) -> bool:
        """Whether the user wrote what the layer computes, so that its functions are recorded."""
        module = self.module
        return (
            isinstance(module, nn.Module)
            and not type(module).__module__.startswith("torch.")
            and not computes_as_its_base(module)
            and not nn.utils.parametrize.is_parametrized(module)
        )

    def described(self) -> tuple[Settings, dict[str, str]]:
        """Return the canonical settings, and how each is written."""
        if isinstance(self.module, nn.Module):
            return module_settings(self.module, self.kind)
        return dict(self.settings), {}


class UserModel:
    """What the user calls the model.

    Parameters
    ----------
    model : Module or callable
        The model.
    optimizer : Optimizer, optional
        Its parameters belong to the model, too.

    Raises
    ------
    ModelError
        If the model cannot be observed.
    """

    def __init__(self, model: Any, optimizer: Any = None) -> None:
        self.call: Callable[..., Any] = model
        self.roots, self.loose = parts_of(model)
        self._add_parameters_of(optimizer)
        self._check()
        self.layers = _without_tied([*_layers_of(self.roots), *_loose_layers(self.loose)])

    def _add_parameters_of(self, optimizer: Any) -> None:
        known = {id(tensor) for tensor in self.tensors()}
        for group in getattr(optimizer, "param_groups", ()):
            for tensor in group["params"]:
                if id(tensor) not in known:
                    self.loose[f"parameter{len(self.loose)}"] = tensor

    def _check(self) -> None:
        if any(isinstance(module, torch.jit.ScriptModule) for module in self.modules()):
            raise ModelError(
                "the model, or a part of it, is TorchScript; give the nn.Module that it was made of"
            )
        for tensor in self.tensors():
            if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                raise ModelError(
                    "a lazy layer of the model has no weights yet; call the model once in build()"
                )
            if tensor.device.type != "cpu":
                raise ModelError(
                    f"the model is on {tensor.device}; move it to the CPU: model.to('cpu')"
                )

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first weight."""
        for tensor in self.tensors():
            if tensor.is_floating_point():
                return tensor.dtype
        return torch.get_default_dtype()

    @property
    def name(self) -> str:
        """The class or function of the model."""
        return getattr(self.call, "__name__", type(self.call).__name__)

    @property
    def has_loose_weights(self) -> bool:
        """Whether there are weights that no layer holds."""
        return any(layer.roles and not layer.leaf for layer in self.layers)

    @property
    def is_compiled(self) -> bool:
        """Whether the model, or a part of it, was given to `torch.compile`."""
        return any(_is_compiled(each) for each in (self.call, *self.modules()))

    def modules(self) -> Iterator[nn.Module]:
        """Return every module once."""
        seen: set[int] = set()
        for root in self.roots.values():
            for module in root.modules():
                if id(module) not in seen:
                    seen.add(id(module))
                    yield module

    def tensors(self) -> Iterator[torch.Tensor]:
        """Return every parameter and buffer once."""
        seen: set[int] = set()
        for module in self.modules():
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            for tensor in own:
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield tensor
        yield from (tensor for tensor in self.loose.values() if id(tensor) not in seen)

    def weights(self) -> Iterator[tuple[str, Role, torch.Tensor]]:
        """Return every weight and buffer: its canonical name, its role and what contains it."""
        for layer in self.layers:
            for role in layer.roles:
                yield f"{layer.path}/{role.name}", role, role.tensor(layer.module)

    def set_training(self, training: bool) -> None:
        """Set training or evaluation mode, as the user would."""
        for root in self.roots.values():
            root.train(training)


def parts_of(model: Any) -> tuple[dict[str, nn.Module], dict[str, torch.Tensor]]:
    """Return the modules and the tensors that need a gradient, of a model, by their names.

    A model that is no module may hold them as attributes, or refer to them by its variables.
    """
    if isinstance(model, nn.Module):
        return {"": model}, {}
    parts = references.parts_of(model, lambda value: isinstance(value, (nn.Module, torch.Tensor)))
    modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    tensors = {
        name: part
        for name, part in parts.items()
        if isinstance(part, torch.Tensor) and part.requires_grad
    }
    return modules, tensors


def namespaces_of(model: UserModel) -> list[dict[str, Any]]:
    """Return where the user's code may hold what it calls: its modules, and those of Python."""
    users = [each for each in model.modules() if not type(each).__module__.startswith("torch.")]
    names = {type(each).__module__ for each in users} | {getattr(model.call, "__module__", "")}
    holders = [sys.modules[name] for name in names if name in sys.modules]
    return [vars(each) for each in [*users, *holders]]


def _is_compiled(each: Any) -> bool:
    """Return whether a module or function was given to `torch.compile`, or compiled in place."""
    if hasattr(each, "_torchdynamo_orig_callable") or type(each).__name__ == "OptimizedModule":
        return True
    return isinstance(each, nn.Module) and each._compiled_call_impl is not None


def is_keras(model: Any) -> bool:
    """Return whether a model is one of Keras, whose layers may be modules of PyTorch."""
    if "keras" not in sys.modules:
        return False
    return any(base.__module__.startswith("keras.") for base in type(model).__mro__)


def _layers_of(roots: dict[str, nn.Module]) -> Iterator[PlacedLayer]:
    seen: set[int] = set()
    for root_name, root in roots.items():
        inside: tuple[str, ...] = ()  # the paths of leaves
        for name, module in root.named_modules(prefix=root_name):
            if id(module) in seen or name.startswith(inside):
                continue
            seen.add(id(module))
            leaf = _is_leaf(module, is_root=module is root)
            if leaf:
                inside = (*inside, f"{name}." if name else "")
            yield from _placed(_clean(name), module, leaf=leaf, is_root=not name)
            if leaf and not name:
                return


def _without_tied(layers: list[PlacedLayer]) -> list[PlacedLayer]:
    """Return the layers, each weight in one of them only.

    A weight that two layers share, such as that of an embedding and of the last layer, is the
    embedding's. The other layer computes with it as a function does.
    """
    owners: dict[tuple[int, tuple[int, ...]], str] = {}
    tensors: dict[tuple[str, str], torch.Tensor] = {}  # held, so that no id is given twice
    for layer in sorted(layers, key=lambda layer: layer.kind != "embedding"):
        for role in layer.roles:
            tensor = tensors[layer.path, role.name] = role.tensor(layer.module)
            owners.setdefault((id(tensor), role.rows), layer.path)
    result: list[PlacedLayer] = []
    for layer in layers:
        roles = tuple(
            role
            for role in layer.roles
            if owners[id(tensors[layer.path, role.name]), role.rows] == layer.path
        )
        if len(roles) == len(layer.roles):
            result.append(layer)
        elif roles or layer.leaf:
            result.append(replace(layer, roles=roles, kind=layer.kind if roles else "function"))
    return result


def _clean(name: str) -> str:
    """Return the path as the user knows it: without what torch.compile adds."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    return ".".join(parts).replace("/", ".") or WHOLE_MODEL


def _placed(path: str, module: nn.Module, *, leaf: bool, is_root: bool) -> Iterator[PlacedLayer]:
    count = getattr(module, "num_layers", 1) if isinstance(module, tuple(RECURRENT)) else 1
    for index in range(count):
        kind, roles = kind_and_roles(module, index)
        if leaf and not kind:
            known = operation_of(module)
            kind = known[1].kind if known else "function"
        if kind:
            place = f"{path}.{index}" if count > 1 and kind != "other" else path
            yield PlacedLayer(place, module, kind, roles, index, leaf, is_root)
        if kind == "other":
            break


def _is_leaf(module: nn.Module, *, is_root: bool) -> bool:
    if isinstance(module, (*CONTAINERS, nn.Identity)):
        return False
    if operation_of(module) or kind_and_roles(module)[0] not in ("", "other"):
        return True
    if nn.utils.parametrize.is_parametrized(module) or isinstance(module, nn.RNNBase):
        return True
    if any(True for _ in module.children()):
        return False
    if type(module).__module__.startswith("torch.nn."):
        return not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
    return bool(list(module.parameters(recurse=False))) and not is_root


def _loose_layers(loose: dict[str, torch.Tensor]) -> Iterator[PlacedLayer]:
    for name, tensor in loose.items():
        holder = SimpleNamespace(value=tensor)
        yield PlacedLayer(name, holder, "other", (Role("value", "value"),), leaf=False)
