"""Cells as tasks of Ray."""

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from ...core.events import ClusterReady
from ...core.state import State
from ...errors import one_line
from ...process import machine
from ..ray import connection
from ..ray.connection import LONGEST_REASON
from .cell import run_cell
from .schedule import Node, TaskLost

Json = dict[str, Any]
Packed = tuple[Json, State]

ROW_VARIABLE = "TRIPTYCH_ROW"


@contextmanager
def connected(
    address: str | None, folder: str, data: Mapping[str, Packed]
) -> Generator["RayCluster"]:
    """Start Ray, or connect to a cluster; leave it at the end.

    Parameters
    ----------
    address, folder
        As of `triptych.scale.ray.connection.connected`.
    data : mapping of str to tuple of (dict, dict of str to ndarray)
        The data sets by digest, as `triptych.scale.sweep.cell.pack` returns them.

    Raises
    ------
    TriptychError
        If Ray cannot be started or reached.
    """
    size = sum(array.nbytes for _, arrays in data.values() for array in arrays.values())
    processors = machine.processors()
    with connection.connected(
        address, folder, processors=processors, stored_bytes=size
    ) as variables:
        import ray

        stored = {digest: ray.put(packed) for digest, packed in data.items()}
        yield RayCluster(stored, variables)


class RayCluster:
    """Cells as tasks of Ray: a `triptych.scale.sweep.schedule.Cluster`.

    Parameters
    ----------
    data : dict of str to ray.ObjectRef
        The data sets by digest, in the object store.
    variables : dict of str to str
        Environment variables of every cell.
    """

    def __init__(self, data: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        import ray

        self._data = data
        self._variables = variables
        # A lost task is submitted again by `triptych.scale.sweep.schedule`, which counts how often.
        self._run = ray.remote(max_retries=0)(run_cell)

    def ready(self) -> ClusterReady:
        """Return what the cluster consists of."""
        return connection.described()

    def nodes(self) -> list[Node]:
        """Return the machines that are there now and offer processors."""
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]
        return [
            Node(
                key=node["NodeID"],
                name=node["NodeManagerHostname"],
                processors=int(node["Resources"]["CPU"]),
            )
            for node in alive
            if node["Resources"].get("CPU", 0) >= 1
        ]

    def submit(self, cell: Json, alone_on: Node | None) -> Any:
        """Start a cell, on any node, or with all processors of one node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options: Json = {"num_cpus": cell["threads"]}
        if alone_on is not None:
            options = {
                "num_cpus": alone_on.processors,
                "scheduling_strategy": NodeAffinitySchedulingStrategy(alone_on.key, soft=False),
            }
        # Ray gives each set of variables workers of its own: one framework in each process.
        variables = machine.library_settings(cell["threads"], "cpu")
        variables[ROW_VARIABLE] = f"{cell['engine']}/{cell['backend']}"
        variables.update(self._variables)
        task = self._run.options(**options, runtime_env={"env_vars": variables})
        return task.remote(cell, self._data[cell["data_digest"]])

    def next_ended(self, tasks: Collection[Any]) -> Any:
        """Wait until one of some tasks has ended, and return it."""
        import ray

        ended, _ = ray.wait(list(tasks), num_returns=1, fetch_local=True)
        return ended[0]

    def result(self, task: Any) -> Json:
        """Return what an ended task has returned; raise `TaskLost` if it has ended too early."""
        import ray
        from ray import exceptions

        try:
            return ray.get(task)
        except exceptions.RayTaskError as error:
            # `run_cell` reports its own errors, so this one is of Ray: the node lacks this package.
            reason = one_line(str(error.cause or error), LONGEST_REASON)
            return {"status": "failed", "error": f"the node cannot run the cell: {reason}"}
        except exceptions.RayError as error:
            raise TaskLost(_reason(error)) from None


def _reason(error: Exception) -> str:
    """Return in a few words why a task has no result."""
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return "Ray has ended the worker because the node was out of memory"
    if isinstance(error, exceptions.WorkerCrashedError):
        return "the worker process has ended"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[0], LONGEST_REASON)
