"""Several workers by PyTorch's own means: `DistributedDataParallel`."""

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ...core.gradients import AllReduce
from ...core.plan import Plan
from ...core.state import State
from ...spec.network import Network
from ...spec.recipe import Recipe
from . import precision
from .engine import DeviceSplit, Engine


class NativeWorkers:
    """The workers of the default process group; see `triptych.core.engine.NativeWorkers`."""

    def __init__(self, rank: int, workers: int, all_reduce: AllReduce, address: str) -> None:
        del rank, address  # the process group knows them
        self.workers = workers
        self.all_reduce = all_reduce

    def create(
        self, network: Network, recipe: Recipe, *, device: str, backend: str
    ) -> "NativeEngine":
        """Build an engine."""
        all_reduce = self.all_reduce if self.workers > 1 else None
        return NativeEngine(network, recipe, device=device, backend=backend, all_reduce=all_reduce)


class NativeEngine(Engine):
    """The engine with its model in `DistributedDataParallel`; see `core.engine.NativeEngine`.

    BatchNorm stays ours: `nn.SyncBatchNorm` has no kernel for a CPU.
    """

    takes_empty_parts = True

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        *,
        device: str = "cpu",
        backend: str = "eager",
        all_reduce: AllReduce | None = None,
    ) -> None:
        super().__init__(network, recipe, device=device, backend=backend, all_reduce=all_reduce)
        self.parallel_model = DistributedDataParallel(
            self.compiled_model, broadcast_buffers=False, gradient_as_bucket_view=True
        )
        self.compiled_model = self.parallel_model

    def run_part(self, data: DeviceSplit, plan: Plan, factors: np.ndarray) -> None:
        """Make the plan's steps; `DistributedDataParallel` averages gradients over the workers."""
        self.model.train()
        losses: list[Tensor] = []
        with precision.step(self.backend):
            parts = self.to_device(plan)
            for k, rate in enumerate(plan.rates):
                x, y, masks = self.select_batch(data, parts, k)
                losses.append(self.compute_gradients(x, y, masks, float(factors[k])))
                self.update_weights(float(rate))
        mean_losses = torch.stack(losses) / distributed.get_world_size()
        distributed.all_reduce(mean_losses)
        self.losses += mean_losses.unbind()

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what this worker alone computes in the plan's first step."""
        with self.parallel_model.no_sync():
            return super().trace(data, plan, outputs=outputs)

    def lost_worker(self, error: Exception) -> bool:
        """Return whether gloo tells that a connection has ended."""
        return isinstance(error, RuntimeError) and "gloo" in str(error).lower()
