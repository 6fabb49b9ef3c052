"""Records the training steps of a script that is unaware of it.

The recorder replaces some functions of PyTorch before the script begins. It draws no random numbers
of PyTorch and changes no result.
"""

import copy
import functools
import hashlib
import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ....core import files
from ...bounds import UNIT_ROUNDOFF, moved
from ...observation import Arrays
from ..records import FACTS, Evaluation, Settings, StepValues, write, write_step
from ..sketch import entries_of_each, rows_sketch, sketch

FEW_NUMBERS = 64  # an array that is summed over the workers is recorded up to this size
BATCHES_KEPT = 16  # of DataLoaders, which a script may fetch ahead


class Enough(BaseException):
    """All steps are recorded; it ends the script, which rarely catches a BaseException."""


class NotRecorded(RuntimeError):
    """The script does something that cannot be recorded."""


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the user's own module of one that DDP or torch.compile has wrapped."""
    while True:
        if isinstance(module, DistributedDataParallel):
            module = module.module
        elif hasattr(module, "_orig_mod"):
            module = module._orig_mod
        else:
            return module


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """Yield all tensors in nested arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_of(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_of(each)


def with_tensors(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Return nested values with each tensor changed by a function."""
    inner = functools.partial(with_tensors, change)
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        changed = copy.copy(value)  # some are of classes with more than items
        for key, each in value.items():
            changed[key] = inner(each)
        return changed
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(inner, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(inner, value))
    return value


def to_double(value: Any) -> Any:
    """Return nested values with all floating tensors in double precision."""
    return with_tensors(lambda each: each.double() if each.is_floating_point() else each, value)


def in_order(value: Any, order: torch.Tensor, axis: int) -> Any:
    """Return nested values with the samples of each tensor in another order."""

    def ordered(each: torch.Tensor) -> torch.Tensor:
        has_samples = each.ndim > axis and each.shape[axis] == len(order)
        return each.index_select(axis, order) if has_samples else each

    return with_tensors(ordered, value)


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array of NumPy."""
    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.resolve_conj().numpy()


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Return a digest of the bits of tensors."""
    total = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        total.update(np.ascontiguousarray(numbers(tensor)).data)
    return total.hexdigest()


class Recorder:
    """Records the steps of one process.

    Parameters
    ----------
    settings : Settings
        What is recorded, and where.
    rank : int
        The number of the process.

    Attributes
    ----------
    facts : dict
        What is known of the whole run.
    """

    def __init__(self, settings: Settings, rank: int) -> None:
        self.settings = settings
        self.folder = settings.of_worker(rank)
        self.facts: dict[str, Any] = {
            "ddp": False,
            "broadcast_buffers": True,
            "sampler_epochs": [],
            "dropout": False,
            "group": False,
        }
        self._kept: list[Any] = []
        self._number = 0
        self._roots: list[nn.Module] = []
        self._names: dict[int, str] = {}  # of parameters, by their ids
        self._layers: dict[int, str] = {}  # names of layers, by their ids
        self._parameters: dict[str, nn.Parameter] = {}
        self._depth = 0  # of calls of modules
        self._calls: dict[str, int] = {}  # of layers in the present forward pass
        self._records = False  # whether the present forward pass is one of training
        self._reorders = False  # whether its samples are computed in another order
        self._samples = 0  # of the present forward pass
        self._axis = 0  # along which its samples are
        self._unspent = 0  # samples that were passed forward since the last backward pass
        self._synchronises = False  # whether the next backward pass averages the gradients
        self._in_backward = False
        self._optimizing = 0  # depth of calls of optimizers
        # Of the last batches of DataLoaders: the addresses of their tensors, and the indices.
        self._fetched: deque[tuple[set[int], list[int]]] = deque(maxlen=BATCHES_KEPT)
        self._begin_step()

    def _begin_step(self) -> None:
        self._values = StepValues()
        self._arrays: Arrays = {}
        self._unspent = 0

    # ---- What is replaced ----------------------------------------------------------------------

    def install(self) -> None:
        """Replace the functions of PyTorch through which the recorder sees the training."""
        optimizers = importlib.import_module("torch.optim.optimizer")
        optimizers.register_optimizer_step_pre_hook(self._before_update)
        optimizers.register_optimizer_step_post_hook(self._after_update)
        self._replace(nn.Module, "__call__", self._call)
        self._replace(torch.autograd, "backward", self._backward)
        self._replace(torch.distributed, "all_reduce", self._all_reduce)
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            replaced = self._replace(nn.utils, name, functools.partial(self._clip, name))
            setattr(importlib.import_module("torch.nn.utils.clip_grad"), name, replaced)
        loader = importlib.import_module("torch.utils.data.dataloader")
        self._replace(loader._BaseDataLoaderIter, "_next_index", self._next_index)
        self._replace(loader._BaseDataLoaderIter, "__next__", self._next_batch)
        sampler = importlib.import_module("torch.utils.data.distributed").DistributedSampler
        self._replace(sampler, "__iter__", self._iterate_sampler)
        self._replace(DistributedDataParallel, "__init__", self._wrap)

    def _replace(self, owner: Any, name: str, by: Callable[..., Any]) -> Callable[..., Any]:
        """Put a function in the place of another one, which it is given first."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def replaced(*args: Any, **kwargs: Any) -> Any:
            return by(original, *args, **kwargs)

        setattr(owner, name, replaced)
        return replaced

    def keep(self, something: Any) -> None:
        """Keep an object until the process ends.

        The destructors of reducers and process groups wait for threads of gloo while they hold
        Python's lock, for which these threads may wait.
        """
        self._kept.append(something)

    def _wrap(self, original: Any, ddp: Any, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if self.settings.double:
            module.double()
        original(ddp, module, *args, **kwargs)
        self.keep(ddp)
        self.facts["ddp"] = True
        self.facts["broadcast_buffers"] = bool(ddp.broadcast_buffers)

    # ---- Data ----------------------------------------------------------------------------------

    def _next_index(self, original: Any, iterator: Any) -> Any:
        index = original(iterator)
        waiting = iterator.__dict__.setdefault("_triptych_indices", deque())
        try:
            waiting.append([int(each) for each in (index if isinstance(index, list) else [index])])
        except (TypeError, ValueError):
            waiting.append(None)
        return index

    def _next_batch(self, original: Any, iterator: Any) -> Any:
        batch = original(iterator)
        if self.settings.double:
            batch = to_double(batch)
        waiting = iterator.__dict__.get("_triptych_indices")
        indices = waiting.popleft() if waiting else None
        if indices is not None:
            self._fetched.append(({each.data_ptr() for each in tensors_of(batch)}, indices))
        return batch

    def _iterate_sampler(self, original: Any, sampler: Any) -> Any:
        described = [id(sampler), sampler.epoch, bool(sampler.shuffle)]
        yield from original(sampler)
        self.facts["sampler_epochs"].append(described)  # a script may only look at its beginning

    def _given(self, args: Any, kwargs: Any) -> list[torch.Tensor]:
        """Return the first tensor that a model is given, or a list with one for each sample."""
        for each in (*args, *kwargs.values()):
            tensors = [tensor for tensor in tensors_of(each) if tensor.ndim]
            if isinstance(each, (list, tuple)) and len(tensors) == len(each) > 1:
                indices = self._indices_of(tensors[0]) or []
                # A list of images, as detectors take it.
                return tensors if len(indices) == len(each) else tensors[:1]
            if tensors:
                return tensors[:1]
        return []

    def _note_given(self, given: list[torch.Tensor]) -> None:
        """Note what the samples are, because a model may be given what another one has made."""
        arrays = [numbers(each) for each in given]
        if len(arrays) > 1:
            rows = np.concatenate([rows_sketch(each[None]) for each in arrays])
        else:
            rows = rows_sketch(np.moveaxis(arrays[0], self._axis, 0))
        before = self._arrays.get("given/rows")
        self._arrays["given/rows"] = rows if before is None else np.concatenate([before, rows])

    def _note_samples(
        self,
        given: list[torch.Tensor],
        known: Evaluation | StepValues,
        *,
        is_recurrent: bool = False,
    ) -> None:
        """Note which samples a forward pass has."""
        indices = self._indices_of(given[0])
        self._axis = 0
        first = given[0]
        if len(given) > 1:
            rows = [numbers(each) for each in given]
        else:
            known_first = indices is not None and len(indices) == first.shape[0]
            known_second = indices is not None and [len(indices)] == list(first.shape[1:2])
            if not known_first and (known_second or (is_recurrent and first.ndim > 2)):
                self._axis = 1  # time comes first
            rows = list(np.moveaxis(numbers(first), self._axis, 0))
        self._samples = len(rows)
        for row in rows:
            content = np.ascontiguousarray(row)
            known.samples.append(hashlib.blake2b(content.tobytes(), digest_size=8).hexdigest())
        if known.indices is not None and indices is not None and len(indices) == len(rows):
            known.indices.extend(indices)
        else:
            known.indices = None

    def _indices_of(self, given: torch.Tensor) -> list[int] | None:
        """Return the indices of a tensor that a DataLoader has given, or of its last batch."""
        for addresses, indices in reversed(self._fetched):
            if given.data_ptr() in addresses:
                return indices
        return self._fetched[-1][1] if self._fetched else None

    # ---- The forward pass ----------------------------------------------------------------------

    def _call(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self._in_backward:  # checkpointing computes layers again
            return original(module, *args, **kwargs)
        outermost = self._depth == 0
        if outermost:
            if self.settings.double:
                args, kwargs = to_double(args), to_double(kwargs)
            self._begin_call(module, args, kwargs)
        reorders = outermost and self._records and self._reorders
        if reorders:
            args, kwargs = in_order((args, kwargs), self._order(), self._axis)
        self._depth += 1
        try:
            output = original(module, *args, **kwargs)
        finally:
            self._depth -= 1
        if reorders:
            output = in_order(output, self._order().argsort(), self._axis)
        if self._records and not torch.jit.is_tracing():
            self._note_layer(module, args, output, outermost=outermost)
        if outermost:
            self._records = False
        return output

    def _order(self) -> torch.Tensor:
        """Return the order in which a moved run computes the samples."""
        generator = np.random.default_rng(self._samples)
        return torch.from_numpy(generator.permutation(self._samples))

    def _begin_call(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._records = False
        root = unwrapped(module)
        given = self._given(args, kwargs)
        if not given or next(root.parameters(), None) is None:
            return
        if not (root.training and torch.is_grad_enabled()):
            if not self._values.evaluations:
                self._values.evaluations.append(Evaluation())
            self._note_samples(given, self._values.evaluations[-1])
            return
        self._know(root)
        self._records = True
        self._reorders = self.settings.moved and len(given) == 1
        self._calls = {}
        if given[0].requires_grad:  # what another module has returned
            self._samples = given[0].shape[self._axis]
            return
        self._note_samples(given, self._values, is_recurrent=_takes_time_first(root))
        self._note_given(given)
        self._unspent += self._samples
        if isinstance(module, DistributedDataParallel) and module.require_backward_grad_sync:
            self._synchronises = True

    def _know(self, root: nn.Module) -> None:
        """Give names to the parameters and layers of a module that is trained."""
        if any(each is root for each in self._roots):
            return
        self._roots.append(root)
        if self.settings.double:
            root.double()
        for layer in root.modules():
            if isinstance(layer, nn.RNNBase) and layer.dropout:
                layer.dropout = 0.0
                self.note_dropout()
        prefix = f"model {len(self._roots)}: " if len(self._roots) > 1 else ""
        for name, layer in root.named_modules():
            self._layers.setdefault(id(layer), f"{prefix}{name}" if name else prefix.strip(": "))
        for name, parameter in root.named_parameters():
            self._know_parameter(f"{prefix}{name}", parameter)
        if self._number == 0:
            for name, parameter in self._parameters.items():
                self._arrays[f"start/{name}"] = self._sketched(parameter)

    def _know_parameter(self, name: str, parameter: nn.Parameter) -> None:
        if id(parameter) in self._names:
            return
        if hasattr(parameter, "to_local") or name.endswith("_flat_param"):
            raise NotRecorded("weights that are divided among workers (FSDP) are not supported")
        self._names[id(parameter)] = name
        self._parameters[name] = parameter
        if self.settings.moved and parameter.dtype in (torch.float32, torch.float64):
            array = {name: numbers(parameter)}
            dtype = "float64" if parameter.dtype == torch.float64 else "native"
            seed = int(hashlib.blake2b(name.encode(), digest_size=4).hexdigest(), 16)
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(moved(array, dtype, seed)[name]))
        if parameter.requires_grad:
            hook = parameter.register_hook(functools.partial(self._note_local, name))
            # Before hooks of the user, which may change the gradient.
            hooks: Any = parameter._backward_hooks
            hooks.move_to_end(hook.id, last=False)

    def _entries(self) -> int:
        return entries_of_each(len(self._parameters))

    def _sketched(self, tensor: torch.Tensor) -> np.ndarray:
        return sketch(numbers(tensor), self._entries())

    def _note_layer(self, module: nn.Module, args: Any, output: Any, *, outermost: bool) -> None:
        """Note what a layer without layers inside, or the whole model, has returned."""
        name = self._layers.get(id(unwrapped(module)))
        is_leaf = next(module.children(), None) is None
        if name is None or not (is_leaf or outermost):
            return
        if isinstance(module, _BatchNorm) and module.training and args:
            self._note_statistics(name, args[0])
        tensor = next(tensors_of(output), None)
        axis = self._axis
        if tensor is None or not tensor.is_floating_point() or tensor.ndim <= axis:
            return
        if tensor.shape[axis] != self._samples:
            return
        if outermost and not is_leaf:
            name = f"{name}: outputs" if name else "outputs"
        name = name or type(module).__name__
        count = self._calls[name] = self._calls.get(name, 0) + 1
        call = name if count == 1 else f"{name}, call {count}"
        rows = rows_sketch(np.moveaxis(numbers(tensor), axis, 0))
        if self._reorders and not outermost:
            rows = rows[self._order().argsort().numpy()]
        key = f"layer/{call}"
        if key in self._arrays:  # of another part of the batch
            rows = np.concatenate([self._arrays[key], rows])
        else:
            self._values.layers.append([call, type(unwrapped(module)).__name__])
        self._arrays[key] = rows

    def _note_statistics(self, name: str, given: torch.Tensor) -> None:
        if f"norm/{name}/mean" in self._arrays or not isinstance(given, torch.Tensor):
            return
        array = numbers(given).astype(np.float64)
        axes = tuple(axis for axis in range(array.ndim) if axis != 1)
        self._arrays[f"norm/{name}/mean"] = array.mean(axes)
        self._arrays[f"norm/{name}/variance"] = array.var(axes)

    def note_dropout(self) -> None:
        """Note that the script draws dropout masks; it is called where one would be drawn."""
        self.facts["dropout"] = True
        if self._values.masks is None:
            self._values.masks = digest([torch.get_rng_state()])

    # ---- The backward pass ---------------------------------------------------------------------

    def _backward(self, original: Any, tensors: Any, *args: Any, **kwargs: Any) -> Any:
        losses = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
        value = sum(float(each.detach().sum()) for each in losses)
        self._values.losses.append((value, self._unspent))
        self._values.synchronised += self._synchronises
        self._synchronises = False
        self._unspent = 0
        self._in_backward = True
        try:
            return original(tensors, *args, **kwargs)
        finally:
            self._in_backward = False

    def _note_local(self, name: str, gradient: torch.Tensor) -> None:
        key = f"local/{name}"
        if gradient.is_sparse:
            gradient = gradient.to_dense()
        found = self._sketched(gradient)
        self._arrays[key] = self._arrays[key] + found if key in self._arrays else found

    def _all_reduce(self, original: Any, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        evaluations = self._values.evaluations
        small = isinstance(tensor, torch.Tensor) and tensor.numel() <= FEW_NUMBERS
        if not (small and evaluations):
            return original(tensor, *args, **kwargs)
        before = numbers(tensor).astype(np.float64).ravel().tolist()
        result = original(tensor, *args, **kwargs)
        if result is None:  # it is no work that goes on
            after = numbers(tensor).astype(np.float64).ravel().tolist()
            samples = len(evaluations[-1].samples)
            evaluations[-1].sums.append({"before": before, "after": after, "samples": samples})
        return result

    def _clip(self, name: str, original: Any, parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(parameters, torch.Tensor):
            parameters = [parameters]
        chosen = list(parameters)
        for parameter in chosen:
            known = self._names.get(id(parameter))
            if known is not None and parameter.grad is not None:
                self._arrays[f"unclipped/{known}"] = self._sketched(parameter.grad)
        limit = args[0] if args else next(iter(kwargs.values()), None)
        norm = original(chosen, *args, **kwargs)
        self._values.clip = {
            "kind": "norm" if name == "clip_grad_norm_" else "value",
            "limit": None if limit is None else float(limit),
            "norm": None if norm is None else float(norm),
        }
        return norm

    # ---- The update ----------------------------------------------------------------------------

    def _before_update(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Note the gradients; return the arguments of `step` if they must be others."""
        self._optimizing += 1
        if self._optimizing > 1:
            return None
        if type(optimizer).__name__ == "LBFGS":
            raise NotRecorded("LBFGS computes the loss several times in a step: not supported")
        _, *given = args
        closure = given[0] if given else kwargs.get("closure")
        if closure is None:
            self._note_gradients(optimizer)
            return None

        def noted() -> Any:
            loss = closure()
            self._note_gradients(optimizer)
            return loss

        return (optimizer, noted), {}

    def _note_gradients(self, optimizer: Any) -> None:
        values = self._values
        named = self._parameters_of(optimizer)
        values.entries = self._entries()
        gradients: list[torch.Tensor] = []
        for name, parameter in named.items():
            if parameter.grad is not None:
                gradient = parameter.grad
                gradient = gradient.to_dense() if gradient.is_sparse else gradient
                gradients.append(gradient)
                self._arrays[f"gradient/{name}"] = self._sketched(gradient)
        values.gradients = digest(gradients)
        kind = type(optimizer).__name__
        for group in optimizer.param_groups:
            values.rates.append(float(group.get("lr", 0.0)))
            simple = {key: value for key, value in group.items() if _is_simple(value)}
            simple.pop("lr", None)
            simple.pop("initial_lr", None)
            values.options.append({"optimizer": kind, **simple})

    def _parameters_of(self, optimizer: Any) -> dict[str, nn.Parameter]:
        found: dict[str, nn.Parameter] = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in self._names:
                    self._know_parameter(f"parameter {len(self._names) + 1}", parameter)
                found[self._names[id(parameter)]] = parameter
        return found

    def _after_update(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._optimizing -= 1
        if self._optimizing:
            return
        values = self._values
        named = self._parameters_of(optimizer)
        for name, parameter in named.items():
            self._arrays[f"weights/{name}"] = self._sketched(parameter)
            values.shapes[f"weights/{name}"] = list(parameter.shape)
        values.weights = digest(named.values())
        for root in self._roots:
            for name, buffer in root.named_buffers():
                self._arrays[f"buffers/{name}"] = self._sketched(buffer)
                values.shapes[f"buffers/{name}"] = list(buffer.shape)
        double = all(each.dtype == torch.float64 for each in named.values())
        values.unit = UNIT_ROUNDOFF["float64" if double else "native"]
        write_step(self.folder, self._number, values, self._arrays)
        self._number += 1
        self._begin_step()
        if self._number >= self.settings.steps:
            raise Enough

    def end(self) -> None:
        """Write what is known of the whole run."""
        self.facts["evaluations"] = [vars(each) for each in self._values.evaluations]
        self.facts["forward"] = bool(self._roots)
        write(self.folder / FACTS, files.to_json(self.facts))


def _takes_time_first(root: nn.Module) -> bool:
    """Return whether a model is a recurrent layer that takes (time, samples, features)."""
    return isinstance(root, nn.RNNBase) and not root.batch_first


def _is_simple(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_simple, value))
    return value is None or isinstance(value, (bool, int, float, str))
