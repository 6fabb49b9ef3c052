"""Ray Train: it starts the workers of a training, watches them, and starts them again.

`triptych.scale.training.driver` sets Ray Train's environment variables before it calls anything
here: they are read when Ray Train is imported.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import TriptychError, one_line
from ..messages import LOST
from ..ray.connection import LONGEST_REASON
from . import worker
from .mailbox import Mailbox

STARTS_IN_VAIN = 5  # in a row, each of about a minute, because the cluster has too few processors
WITHOUT_END = -1


def open_for(worker_group: Any, mailbox: Any, folder: str | None) -> None:
    """Tell a group's workers how they find each other, and open the mailbox for them.

    Parameters
    ----------
    worker_group : ray.train's worker group
        That has started.
    mailbox : ActorHandle
        The actor `triptych.scale.training.mailbox.Mailbox`.
    folder : str or None
        A folder in which the workers of this machine find each other; None for those of a cluster.
    """
    import ray

    group = ray.get(mailbox.begin.remote())
    rendezvous: Any
    if folder is None:
        host = worker_group.execute_single(0, worker.node_address)
        rendezvous = (host, worker_group.execute_single(0, worker.listen, host))
    else:
        rendezvous = str(Path(folder, f"rendezvous-{group}"))
    worker_group.execute(worker.prepare, group, rendezvous)


def close_for_all(mailbox: Any, why: str) -> None:
    """Close the mailbox for the present group."""
    import ray

    ray.get(mailbox.lose.remote(why))


def _backend_config(mailbox: Any, folder: str | None) -> Any:
    """Return what prepares each group of workers, in the process of Ray Train's controller.

    The classes are made here because Ray is imported late. So they are sent there by value.
    """
    from ray.train import BackendConfig
    from ray.train.backend import Backend

    class GroupBackend(Backend):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            del backend_config
            open_for(worker_group, mailbox, folder)

        def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
            del worker_group, backend_config
            close_for_all(mailbox, "the workers were ended")

    class GroupBackendConfig(BackendConfig):
        @property
        def backend_cls(self) -> type[Backend]:
            return GroupBackend

    return GroupBackendConfig()


def _telling_of_losses(mailbox: Any, workers: int) -> Any:
    """Return what tells the driver at once that a worker has ended, and which one."""
    from ray.train import UserCallback

    class TellingOfLosses(UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Any]) -> None:
            del run_context
            close_for_all(mailbox, reason_of(worker_exceptions, workers))

    return TellingOfLosses()


def reason_of(errors: Mapping[int, Exception], workers: int) -> str:
    """Return in a line why a group has ended.

    Parameters
    ----------
    errors : mapping of int to Exception
        By the rank of the worker.
    workers : int
        How many workers there were.
    """
    from ray.exceptions import RayActorError

    # Ray Train wraps the error of an actor that has ended.
    causes = {rank: getattr(each, "health_check_failure", each) for rank, each in errors.items()}
    ended = sorted(rank + 1 for rank, each in causes.items() if isinstance(each, RayActorError))
    if len(ended) == 1:
        return f"worker {ended[0]} of {workers} has ended"
    if ended:
        return f"workers {' and '.join(map(str, ended))} of {workers} have ended"
    for rank, error in sorted(errors.items()):
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if LOST not in lines[-1]:
            return f"worker {rank + 1} of {workers}: {one_line(lines[-1], LONGEST_REASON)}"
    return "a worker has ended"


def create_mailbox(workers: int) -> Any:
    """Start the mailbox, on the node of this process."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(here, soft=False)
    actor: Any = ray.remote(Mailbox)
    return actor.options(num_cpus=0, scheduling_strategy=strategy).remote(workers)


def check_capacity(workers: int, threads: int) -> None:
    """Raise `TriptychError` if the cluster has too few processors for all workers."""
    import ray

    offered = [
        int(node["Resources"].get("CPU", 0) // threads) for node in ray.nodes() if node["Alive"]
    ]
    if sum(offered) < workers:
        raise TriptychError(
            f"the cluster has processors for {sum(offered)} workers of --threads {threads}, and "
            f"not for {workers}; use fewer"
        )


def keep_training(
    mailbox: Any,
    *,
    engine: str,
    workers: int,
    native: bool,
    threads: int,
    variables: Mapping[str, str],
    folder: str,
    on_this_machine: bool,
) -> None:
    """Start the workers, and start them again whenever one of them ends; return never.

    The process that calls this is ended when the training has ended.

    Parameters
    ----------
    mailbox : ActorHandle
        From which the workers take their requests.
    engine : str
        The name of the engine.
    native : bool
        Whether the framework's own data-parallel training adds the gradients.
    workers, threads : int
        How many workers, and how many processors each of them has.
    variables : mapping of str to str
        Environment variables of the workers.
    folder : str
        For the files of Ray Train.
    on_this_machine : bool
        Whether all workers are on this machine.

    Raises
    ------
    Exception
        An error of Ray Train, if it cannot start the workers.
    """
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    trainer = DataParallelTrainer(
        worker.train,
        train_loop_config={"mailbox": mailbox, "engine": engine, "native": native},
        backend_config=_backend_config(mailbox, folder if on_this_machine else None),
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": threads}),
        run_config=RunConfig(
            name="training",
            storage_path=os.path.join(folder, "train"),
            failure_config=FailureConfig(
                # `triptych.scale.training.session` decides when it is enough.
                max_failures=WITHOUT_END,
                controller_failure_limit=STARTS_IN_VAIN,
            ),
            callbacks=[_telling_of_losses(mailbox, workers)],
            worker_runtime_env={"env_vars": dict(variables)},
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    trainer.fit()
