"""Ray: started on this machine or connected to, and cells as its tasks. Nothing else imports Ray.

Everything that is specific to Ray's behaviour is here, with its reason.
"""

import logging
import os
import secrets
import socket
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.events import ClusterReady
from ...core.state import State
from ...errors import TriptychError, one_line
from ...process import machine
from .cell import run_cell
from .schedule import Node, TaskLost

Json = dict[str, Any]
Packed = tuple[Json, State]

# Bytes of the object store, which is memory, in addition to twice the data. Ray refuses less than
# 75 MiB, and would take 30 % of the machine's memory if nothing were said.
LEAST_OBJECT_STORE = 80 * 2**20
# When Ray starts, it asks 169.254.169.254 and metadata.google.internal on which cloud it is, even
# if usage reports are off, unless its home folder has this file of its cluster launcher.
LAUNCHER_FILE = "ray_bootstrap_config.yaml"
SECONDS_TO_CONNECT = 10.0
ROW_VARIABLE = "TRIPTYCH_ROW"
LONGEST_REASON = 200  # characters of Ray's errors, which are pages long


@contextmanager
def connected(
    address: str | None, folder: str, data: Mapping[str, Packed]
) -> Generator["RayCluster"]:
    """Start Ray, or connect to a cluster; leave it at the end.

    Parameters
    ----------
    address : str or None
        As ``ray.init`` takes it; None starts Ray on this machine, for this machine alone.
    folder : str
        Where Ray puts its own files if it is started here.
    data : mapping of str to tuple of (dict, dict of str to ndarray)
        The data sets by digest, as `triptych.scale.sweep.cell.pack` returns them.

    Raises
    ------
    TriptychError
        If Ray cannot be started or reached.
    """
    home = os.environ.get("HOME")
    settings = _local(folder, data) if address is None else _remote(address)
    import ray  # after the environment variables that it reads when it is imported

    if address is None:
        _stay_on_loopback()
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
    except Exception as error:
        where = "Ray cannot be started here" if address is None else f"no Ray at {address}"
        reason = one_line(str(error).strip() or type(error).__name__, LONGEST_REASON)
        raise TriptychError(f"{where}: {reason}") from None
    try:
        stored = {digest: ray.put(packed) for digest, packed in data.items()}
        # The cells have the user's home folder again.
        yield RayCluster(stored, {"HOME": home} if address is None and home else {})
    finally:
        ray.shutdown()


def _local(folder: str, data: Mapping[str, Packed]) -> Json:
    """Return the settings of a Ray that only this sweep on this machine can use."""
    Path(folder, LAUNCHER_FILE).write_text("{}\n", encoding="utf-8")
    os.environ["HOME"] = folder
    # Without a token, every user of this machine could run code as this one.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    size = sum(array.nbytes for _, arrays in data.values() for array in arrays.values())
    return {
        "address": "local",  # not the cluster that RAY_ADDRESS may name
        "num_cpus": machine.processors(),
        "num_gpus": 0,
        "object_store_memory": LEAST_OBJECT_STORE + 2 * size,
        "include_dashboard": False,
        "_node_ip_address": machine.LOOPBACK,
        "_temp_dir": folder,
    }


def _stay_on_loopback() -> None:
    """Let Ray keep the node's address 127.0.0.1.

    ``ray.init`` replaces it by the address of a network, if there is one, which it finds with a
    socket to 8.8.8.8; and with such an address Ray's servers listen on every interface.
    """
    from ray._private import services

    def loopback(address: object = None) -> str:
        del address
        return machine.LOOPBACK

    services.get_node_ip_address = loopback


def _remote(address: str) -> Json:
    """Return the settings of a connection to a cluster, by default one that asks for a token.

    Raises
    ------
    TriptychError
        If nothing listens at the address; Ray itself would wait for minutes.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TriptychError(f"no Ray at {address}: {reason}") from None
    return {"address": address}


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
        import ray

        nodes = [{"name": node.name, "processors": node.processors} for node in self.nodes()]
        return ClusterReady(nodes, ray.__version__)

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
