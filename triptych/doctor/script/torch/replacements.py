"""Functions of PyTorch that a recorded script gets in another form.

Processes find each other by a file, and connect on the loopback interface only. What the script
asks of a GPU, it gets on the processor. Dropout returns what it is given, because no two numbers of
workers could draw the same masks. What `torch.save` writes goes into the folder of the recording.
"""

import functools
import hashlib
import importlib
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .recorder import NotRecorded, Recorder

DROPOUTS = (
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
)
# Functions that make tensors, and may be told where.
FACTORIES = (
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "tensor",
    "zeros",
    "zeros_like",
)
ACCELERATORS = ("cuda", "mps", "xpu", "hpu")
MINUTES_TO_WAIT = 30  # for another worker; the coordinator ends what waits in vain


def install(recorder: Recorder, rendezvous: Path) -> None:
    """Replace the functions.

    Parameters
    ----------
    recorder : Recorder
        Is told of dropout.
    rendezvous : Path
        A file that does not exist yet, by which the processes find each other.
    """
    _rendezvous(recorder, rendezvous)
    _refuse_spawning()
    _processor()
    _dropout(recorder)
    _saving(rendezvous.parent / "saved")
    nn.SyncBatchNorm.forward = _synchronised  # pyright: ignore[reportAttributeAccessIssue]


def _rendezvous(recorder: Recorder, path: Path) -> None:
    rank = int(os.environ["RANK"])
    workers = int(os.environ["WORLD_SIZE"])

    def handler(url: str, timeout: timedelta = timedelta(minutes=MINUTES_TO_WAIT), **_: Any) -> Any:
        # A file and not a TCP store, which listens on every interface.
        store = torch.distributed.FileStore(str(path), workers)
        store.set_timeout(timeout)
        recorder.facts["group"] = True
        yield store, rank, workers
        raise RuntimeError("the processes cannot find each other again")

    handlers = importlib.import_module("torch.distributed.rendezvous")._rendezvous_handlers
    handlers.update(dict.fromkeys(("env", "tcp", "file"), handler))
    join = torch.distributed.init_process_group

    @functools.wraps(join)
    def init_process_group(
        backend: Any = None, init_method: Any = None, timeout: Any = None, *_: Any, **others: Any
    ) -> None:
        join("gloo", init_method="env://", timeout=others.get("timeout", timeout))
        recorder.keep(torch.distributed.group.WORLD)

    divide = torch.distributed.new_group

    @functools.wraps(divide)
    def new_group(
        ranks: Any = None, timeout: Any = None, backend: Any = None, *_: Any, **others: Any
    ) -> Any:
        group = divide(ranks, others.get("timeout", timeout))
        recorder.keep(group)
        return group

    for name in ("torch.distributed", "torch.distributed.distributed_c10d"):
        module: Any = importlib.import_module(name)
        module.init_process_group = init_process_group
        module.new_group = new_group
    mesh: Any = importlib.import_module("torch.distributed.device_mesh")
    mesh.init_process_group = init_process_group
    torch.distributed.all_reduce = _averaging(torch.distributed.all_reduce)


class _Done:
    """A work that has ended, as asynchronous functions return it."""

    def wait(self, *_: Any) -> bool:
        """Return at once."""
        return True

    def is_completed(self) -> bool:
        """Return that it is."""
        return True


def _averaging(add: Callable[..., Any]) -> Callable[..., Any]:
    """Give gloo, which only adds, the average that NCCL has."""

    @functools.wraps(add)
    def all_reduce(
        tensor: torch.Tensor, op: Any = torch.distributed.ReduceOp.SUM, *args: Any, **kwargs: Any
    ) -> Any:
        if op != torch.distributed.ReduceOp.AVG:
            return add(tensor, op, *args, **kwargs)
        group = args[0] if args else kwargs.get("group")
        add(tensor, torch.distributed.ReduceOp.SUM, group)
        tensor /= torch.distributed.get_world_size(group)
        asynchronous = args[1] if len(args) > 1 else kwargs.get("async_op", False)
        return _Done() if asynchronous else None

    return all_reduce


def _refuse_spawning() -> None:
    """Refuse that a script starts workers itself: they would not be recorded."""
    processes = importlib.import_module("torch.multiprocessing.spawn")

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NotRecorded(
            "the script starts its workers itself; write it so that torchrun can start it, which "
            "sets RANK and WORLD_SIZE, and call the function of one worker"
        )

    for owner in (processes, torch.multiprocessing):
        owner.spawn = owner.start_processes = refuse


def on_processor(device: Any) -> Any:
    """Return the processor for a GPU, and everything else as it is."""
    if isinstance(device, bool):
        return device
    if isinstance(device, int):
        return torch.device("cpu")
    if isinstance(device, torch.device) and device.type in ACCELERATORS:
        return torch.device("cpu")
    if isinstance(device, str) and device.partition(":")[0] in ACCELERATORS:
        return "cpu"
    return device


def _processor() -> None:
    """Let everything happen on the processor that is asked of a GPU."""
    for owner in (torch.Tensor, nn.Module):
        owner.to = _moved_to_processor(owner.to)
        owner.cuda = _stays
    torch.Tensor.pin_memory = _stays
    for name in FACTORIES:
        setattr(torch, name, _made_on_processor(getattr(torch, name)))
    _count_devices()
    _load_on_processor()
    loader = importlib.import_module("torch.utils.data").DataLoader
    make_loader = loader.__init__

    @functools.wraps(make_loader)
    def init_loader(self: Any, *args: Any, **kwargs: Any) -> None:
        make_loader(self, *args, **kwargs | {"pin_memory": False})

    loader.__init__ = init_loader
    # It refuses SyncBatchNorm on the processor.
    DistributedDataParallel._passing_sync_batchnorm_handle = lambda self, module: None
    wrap = DistributedDataParallel.__init__

    @functools.wraps(wrap)
    def init(self: Any, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("device_ids", None)
        kwargs.pop("output_device", None)
        wrap(self, module, *(None for _ in args[:2]), *args[2:], **kwargs)

    DistributedDataParallel.__init__ = init


def _count_devices() -> None:
    """Give each worker one device, which is none."""
    workers = int(os.environ["WORLD_SIZE"])
    rank = int(os.environ["RANK"])
    for name in ("set_device", "synchronize", "empty_cache", "manual_seed_all", "manual_seed"):
        setattr(torch.cuda, name, _without_effect(getattr(torch.cuda, name)))
    torch.cuda.device_count = lambda: workers
    torch.cuda.current_device = lambda: rank
    accelerator = torch.accelerator
    accelerator.set_device_index = _without_effect(accelerator.set_device_index)
    accelerator.device_count = lambda: workers
    accelerator.current_accelerator = lambda *_, **__: torch.device("cpu")


def _moved_to_processor(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args:
            args = (on_processor(args[0]), *args[1:])
        if "device" in kwargs:
            kwargs["device"] = on_processor(kwargs["device"])
        return original(self, *args, **kwargs)

    return to


def _stays(self: Any, *_: Any, **__: Any) -> Any:
    """Return a tensor or module as it is."""
    return self


def _without_effect(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def nothing(*_: Any, **__: Any) -> None:
        """Do nothing."""

    return nothing


def _made_on_processor(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def make(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("device") is not None:
            kwargs["device"] = on_processor(kwargs["device"])
        return original(*args, **kwargs)

    return make


def _load_on_processor() -> None:
    load = torch.load

    @functools.wraps(load)
    def on_cpu(file: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        del map_location
        return load(file, "cpu", *args, **kwargs)

    torch.load = on_cpu


def _dropout(recorder: Recorder) -> None:
    functional = nn.functional
    for name in DROPOUTS:
        original = getattr(functional, name)

        @functools.wraps(original)
        def dropout(
            input: Any, p: float = 0.5, training: bool = True, inplace: bool = False
        ) -> Any:
            del inplace
            if training and p:
                recorder.note_dropout()
            return input

        setattr(functional, name, dropout)
    attention = functional.scaled_dot_product_attention

    @functools.wraps(attention)
    def attend(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        **others: Any,
    ) -> Any:
        if dropout_p:
            recorder.note_dropout()
        return attention(query, key, value, attn_mask, 0.0, **others)

    functional.scaled_dot_product_attention = attend


def _saving(folder: Path) -> None:
    """Keep what the script saves apart from its own files, and let it load them again."""
    save, load = torch.save, torch.load

    def elsewhere(file: Any) -> Path | None:
        if not isinstance(file, (str, os.PathLike)):
            return None
        name = os.path.abspath(os.fspath(file))
        return folder / hashlib.sha256(name.encode()).hexdigest()

    @functools.wraps(save)
    def save_apart(value: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        path = elsewhere(f)
        if path is not None:
            folder.mkdir(exist_ok=True)
        save(value, path or f, *args, **kwargs)

    @functools.wraps(load)
    def load_apart(f: Any, *args: Any, **kwargs: Any) -> Any:
        path = elsewhere(f)
        return load(path if path and path.exists() else f, *args, **kwargs)

    torch.save, torch.load = save_apart, load_apart


class _SumOfWorkers(torch.autograd.Function):
    """The sum over all workers, forward and backward."""

    @staticmethod
    def forward(context: Any, array: torch.Tensor, group: Any) -> torch.Tensor:
        context.group = group
        return _summed(array, group)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _summed(gradient, context.group), None


def _summed(array: torch.Tensor, group: Any) -> torch.Tensor:
    total = array.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.distributed_c10d.all_reduce(total, group=group)
    return total


def _synchronised(norm: nn.SyncBatchNorm, given: torch.Tensor) -> torch.Tensor:
    """Compute SyncBatchNorm on the processor, where PyTorch has none."""
    statistics = norm.training or norm.running_mean is None
    momentum = 0.0 if norm.momentum is None else norm.momentum
    if norm.training and norm.track_running_stats:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:
            momentum = 1.0 / float(norm.num_batches_tracked)
    axes = [axis for axis in range(given.ndim) if axis != 1]
    shape = [1, -1] + [1] * (given.ndim - 2)
    if statistics:
        several = norm.training and torch.distributed.is_initialized()
        group = norm.process_group if several else None

        def over_workers(array: torch.Tensor) -> torch.Tensor:
            return _SumOfWorkers.apply(array, group) if several else array

        count = over_workers(given.new_tensor(given.numel() / given.shape[1]))
        mean = over_workers(given.sum(axes)) / count
        variance = over_workers((given - mean.view(shape)).square().sum(axes)) / count
        if norm.training and norm.track_running_stats:
            with torch.no_grad():
                unbiased = variance * count / (count - 1)
                norm.running_mean.lerp_(mean, momentum)
                norm.running_var.lerp_(unbiased, momentum)
    else:
        mean, variance = norm.running_mean, norm.running_var
    normed = (given - mean.view(shape)) * torch.rsqrt(variance.view(shape) + norm.eps)
    if norm.affine:
        return normed * norm.weight.view(shape) + norm.bias.view(shape)
    return normed
