"""Ray Train: it starts the workers of a training, watches them, and starts them again.

`prepare_environment` is called before this module is imported, because Ray Train reads the
environment then.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train import (
    BackendConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    UserCallback,
)
from ray.train.backend import Backend
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...errors import TriptychError, one_line
from ..messages import LOST
from ..ray.connection import LONGEST_REASON
from . import worker
from .mailbox import Mailbox

STARTS_IN_VAIN = 5  # in a row, each of about a minute, because the cluster has too few processors
WITHOUT_END = -1


@dataclass
class Together(BackendConfig):
    """What the workers of a group need to compute together.

    Attributes
    ----------
    mailbox : ActorHandle
        The actor `triptych.scale.training.mailbox.Mailbox`.
    folder : str or None
        A folder in which the workers of this machine find each other; None for those of a cluster.
    """

    mailbox: Any
    folder: str | None

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that prepares a group."""
        return GroupBackend


class GroupBackend(Backend):
    """Prepares each group of workers that Ray Train starts, in Ray Train's own process."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Tell the workers how they find each other, and open the mailbox for them."""
        group = ray.get(backend_config.mailbox.begin.remote())
        rendezvous: Any
        if backend_config.folder is None:
            host = worker_group.execute_single(0, worker.node_address)
            rendezvous = (host, worker_group.execute_single(0, worker.listen, host))
        else:
            rendezvous = str(Path(backend_config.folder, f"rendezvous-{group}"))
        worker_group.execute(worker.prepare, group, rendezvous)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Close the mailbox for them."""
        ray.get(backend_config.mailbox.lose.remote("the workers were ended"))


class TellingOfLosses(UserCallback):
    """Tells the driver at once that a worker has ended, and which one.

    Parameters
    ----------
    mailbox : ActorHandle
        The actor `triptych.scale.training.mailbox.Mailbox`.
    workers : int
        How many workers there are.
    """

    def __init__(self, mailbox: Any, workers: int) -> None:
        self._mailbox = mailbox
        self._workers = workers

    def after_exception(
        self, run_context: Any, worker_exceptions: "Mapping[int, Exception]"
    ) -> None:
        """Close the mailbox for the group, with the reason."""
        ray.get(self._mailbox.lose.remote(reason_of(worker_exceptions, self._workers)))


def reason_of(errors: Mapping[int, Exception], workers: int) -> str:
    """Return in a line why a group has ended.

    Parameters
    ----------
    errors : mapping of int to Exception
        By the rank of the worker.
    workers : int
        How many workers there were.
    """
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
    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(here, soft=False)
    actor: Any = ray.remote(Mailbox)
    return actor.options(num_cpus=0, scheduling_strategy=strategy).remote(workers)


def check_capacity(workers: int, threads: int) -> None:
    """Raise `TriptychError` if the cluster has too few processors for all workers."""
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
    trainer = DataParallelTrainer(
        worker.train,
        train_loop_config={"mailbox": mailbox, "engine": engine},
        backend_config=Together(mailbox, folder if on_this_machine else None),
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": threads}),
        run_config=RunConfig(
            name="training",
            storage_path=os.path.join(folder, "train"),
            failure_config=FailureConfig(
                # `triptych.scale.training.session` decides when it is enough.
                max_failures=WITHOUT_END,
                controller_failure_limit=STARTS_IN_VAIN,
            ),
            callbacks=[TellingOfLosses(mailbox, workers)],
            worker_runtime_env={"env_vars": dict(variables)},
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    trainer.fit()
