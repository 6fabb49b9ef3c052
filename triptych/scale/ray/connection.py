"""The connection to Ray: started on this machine, or a cluster that runs already.

Everything that keeps a Ray of this machine on loopback is here, with its reason.
"""

import logging
import os
import secrets
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.events import ClusterReady
from ...errors import TriptychError, one_line
from ...process import machine

Json = dict[str, Any]

# Bytes of the object store, which is memory, in addition to twice the data. Ray refuses less than
# 75 MiB, and would take 30 % of the machine's memory if nothing were said.
LEAST_OBJECT_STORE = 80 * 2**20
# When Ray starts, it asks 169.254.169.254 and metadata.google.internal on which cloud it is, even
# if usage reports are off, unless its home folder has this file of its cluster launcher.
LAUNCHER_FILE = "ray_bootstrap_config.yaml"
SECONDS_TO_CONNECT = 10.0
LONGEST_REASON = 200  # characters of Ray's errors, which are pages long


@contextmanager
def connected(
    address: str | None, folder: str, *, processors: int, stored_bytes: int
) -> Generator[dict[str, str]]:
    """Start Ray, or connect to a cluster; leave it at the end.

    Parameters
    ----------
    address : str or None
        As ``ray.init`` takes it; None starts Ray on this machine, for this machine alone.
    folder : str
        Where Ray puts its own files if it is started here.
    processors : int
        How many processors a Ray that is started here offers to tasks.
    stored_bytes : int
        About how many bytes of arrays are in its object store at the same time.

    Yields
    ------
    dict of str to str
        Environment variables that tasks and actors need.

    Raises
    ------
    TriptychError
        If Ray cannot be started or reached.
    """
    home = os.environ.get("HOME")
    settings = _local(folder, processors, stored_bytes) if address is None else _remote(address)
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
        # What is computed has the user's home folder again.
        yield {"HOME": home} if address is None and home else {}
    finally:
        ray.shutdown()


def _local(folder: str, processors: int, stored_bytes: int) -> Json:
    """Return the settings of a Ray that only this command on this machine can use."""
    Path(folder, LAUNCHER_FILE).write_text("{}\n", encoding="utf-8")
    os.environ["HOME"] = folder
    # Without a token, every user of this machine could run code as this one.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return {
        "address": "local",  # not the cluster that RAY_ADDRESS may name
        "num_cpus": processors,
        "num_gpus": 0,
        "object_store_memory": LEAST_OBJECT_STORE + 2 * stored_bytes,
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


def described() -> ClusterReady:
    """Return what the connected cluster consists of."""
    import ray

    nodes = [
        {"name": node["NodeManagerHostname"], "processors": int(node["Resources"]["CPU"])}
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ]
    return ClusterReady(nodes, ray.__version__)
