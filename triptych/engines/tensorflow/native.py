"""Several workers by TensorFlow's own means: `MultiWorkerMirroredStrategy`."""

import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ...core.gradients import AllReduce
from ...core.plan import Plan
from ...core.state import State
from ...errors import EngineError
from ...spec.network import Network
from ...spec.recipe import Recipe
from .engine import DevicePlan, DeviceSplit, Engine


class NativeWorkers:
    """The workers of a strategy; see `triptych.core.engine.NativeWorkers`.

    TensorFlow's server listens on every interface of this machine, whatever the address is.
    """

    def __init__(self, rank: int, workers: int, all_reduce: AllReduce, address: str) -> None:
        self.workers = workers
        self.all_reduce = all_reduce
        cluster = {"worker": addresses_of_workers(rank, workers, all_reduce, address)}
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type="worker", task_id=rank, rpc_layer="grpc"
        )
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        replicas = self.strategy.num_replicas_in_sync
        if replicas != workers:
            raise EngineError(
                f"TensorFlow has {replicas} replicas for {workers} workers; "
                "let each worker see one GPU (CUDA_VISIBLE_DEVICES)"
            )

    def create(
        self, network: Network, recipe: Recipe, *, device: str, backend: str
    ) -> "NativeEngine":
        """Build an engine."""
        if backend == "fit":
            raise EngineError(
                "Keras's fit does not run under MultiWorkerMirroredStrategy; "
                "use the backend compiled"
            )
        all_reduce = self.all_reduce if self.workers > 1 else None
        with self.strategy.scope():
            return NativeEngine(
                self.strategy,
                network,
                recipe,
                device=device,
                backend=backend,
                all_reduce=all_reduce,
            )


def addresses_of_workers(rank: int, workers: int, all_reduce: AllReduce, address: str) -> list[str]:
    """Return ``address:port`` of each worker, in order of rank; every port is free now."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
    places = np.zeros((workers, 5), np.int64)  # the four numbers of an address, and the port
    places[rank] = [*socket.inet_aton(address), port]
    return [
        f"{socket.inet_ntoa(bytes(numbers))}:{port}"
        for *numbers, port in all_reduce(places).tolist()
    ]


class NativeEngine(Engine):
    """The engine with mirrored variables; see `triptych.core.engine.NativeEngine`.

    A worker without samples must be given one, with the factor 0: the mean of none is no number.
    """

    takes_empty_parts = False

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        network: Network,
        recipe: Recipe,
        *,
        device: str = "cpu",
        backend: str = "compiled",
        all_reduce: AllReduce | None = None,
    ) -> None:
        super().__init__(network, recipe, device=device, backend=backend, all_reduce=all_reduce)
        self.strategy = strategy
        self.native_graph: Callable[..., tf.Tensor] | None = None

    def load(self, state: State) -> None:
        """Assign weights, buffers, slots and step."""
        with self.strategy.scope():
            super().load(state)

    def run_part(self, data: DeviceSplit, plan: Plan, factors: np.ndarray) -> None:
        """Make the plan's steps; the strategy averages gradients over the workers."""
        arguments = (data, self.to_device(plan), tf.constant(factors, self.recipe.dtype))
        if self.native_graph is None:
            # One graph for batches of all sizes: the workers must trace equally many, because
            # TensorFlow numbers the sums in the order of tracing. Of two parts of different size
            # one may have the size of the step before, and the other not.
            signature = signature_of(*arguments)
            self.native_graph = tf.function(self.native_steps, input_signature=signature)
        self.losses.append(self.native_graph(*arguments))

    def native_steps(self, data: DeviceSplit, plan: DevicePlan, factors: tf.Tensor) -> tf.Tensor:
        """Make K training steps, and return the losses of the whole batches."""
        count = tf.shape(factors)[0]
        losses = tf.TensorArray(factors.dtype, size=count)
        for k in tf.range(count):  # a loop of the graph, by AutoGraph
            loss = self.strategy.run(self.native_step, args=(data, plan, factors[k], k))
            losses = losses.write(k, loss)
        return self.strategy.run(self.mean_losses, args=(losses.stack(),))

    def native_step(
        self, data: DeviceSplit, plan: DevicePlan, factor: tf.Tensor, k: tf.Tensor
    ) -> tf.Tensor:
        """Make a step in this worker; return the loss of its samples, times the factor."""
        inputs, y = self.select_batch(data, plan, k)
        loss, gradients, _ = self.gradient_graph(inputs, y)
        scaled = [factor * gradient for gradient in gradients]
        # `Optimizer.apply` is ours and adds nothing; that of Keras would add over the workers.
        self.update_weights(mean_over_workers(scaled), plan.rates[k])
        return factor * loss

    def mean_losses(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the losses of the whole batches."""
        return mean_over_workers(tf.identity(losses))  # a copy has a device, which the sum needs

    def lost_worker(self, error: Exception) -> bool:
        """Return whether the sum was given up, or the connection is lost."""
        lost = (tf.errors.UnavailableError, tf.errors.CancelledError)
        return isinstance(error, lost) or "Collective ops is aborted" in str(error)


def mean_over_workers(values: Any) -> Any:
    """Return the mean of tensors over all workers, inside of `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def signature_of(
    data: DeviceSplit, plan: DevicePlan, factors: tf.Tensor
) -> tuple[DeviceSplit, DevicePlan, tf.TensorSpec]:
    """Return the types of the arguments, for any numbers of samples and of steps."""

    def any_samples(tensor: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)

    def any_steps_and_samples(tensor: tf.Tensor) -> tf.TensorSpec:
        axes = min(2, tensor.shape.rank)
        return tf.TensorSpec([*[None] * axes, *tensor.shape[2:]], tensor.dtype)

    return (
        tf.nest.map_structure(any_samples, data),
        tf.nest.map_structure(any_steps_and_samples, plan),
        any_steps_and_samples(factors),
    )
