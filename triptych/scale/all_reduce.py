"""The sum of arrays over several worker processes: gloo of torch.distributed.

Workers of this machine listen and connect on loopback only; those of a cluster at the addresses of
their nodes.
"""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import EngineError
from ..process.machine import LOOPBACK
from .messages import LOST, NEEDS_TORCH

SECONDS_TO_MEET = 60.0  # for the first contact of the workers of a cluster
DAYS_TO_WAIT = 7  # for another worker, which may be slow; the coordinator ends what waits in vain


class Meeting(NamedTuple):
    """Where the workers of a cluster find each other: at a port of the first one.

    Attributes
    ----------
    host : str
        The address of the first worker's node.
    port : int
        A port there, at which the first worker listens already.
    here : str
        The address of this worker's own node.
    listener : socket or None
        Of the first worker, at this port; None in the others.
    """

    host: str
    port: int
    here: str
    listener: socket.socket | None = None


class ProcessGroup:
    """The workers that add arrays, seen by one of them.

    gloo adds each piece of an array along a ring of the workers and then passes the sum on. So the
    order of the additions depends on the number of workers only, and all have the same bits.

    Parameters
    ----------
    rank : int
        The number of this worker, from 0.
    workers : int
        How many there are. One worker alone needs no PyTorch.
    rendezvous : Path or Meeting
        How the workers find each other: by a file that does not exist yet, if all of them are on
        this machine.
    always : bool
        Whether one worker alone joins a group of PyTorch, too.

    Raises
    ------
    EngineError
        If PyTorch is not installed, or another worker has ended.
    """

    def __init__(
        self, rank: int, workers: int, rendezvous: Path | Meeting, *, always: bool = False
    ) -> None:
        self.rank = rank
        self.workers = workers
        self._group: Any = None
        if workers > 1 or always:
            self._join(rendezvous)

    def _join(self, rendezvous: Path | Meeting) -> None:
        try:
            import torch.distributed as distributed
        except ImportError:
            raise EngineError(NEEDS_TORCH) from None
        # gloo listens on the interface that it is told, and else on the one of the host's name.
        address = LOOPBACK if isinstance(rendezvous, Path) else rendezvous.here
        os.environ["GLOO_SOCKET_IFNAME"] = interface_with(address)
        with _telling_of_lost_workers():
            distributed.init_process_group(
                "gloo",
                store=self._store(rendezvous),
                rank=self.rank,
                world_size=self.workers,
                timeout=timedelta(days=DAYS_TO_WAIT),
            )
        self._group = distributed

    def _store(self, rendezvous: Path | Meeting) -> Any:
        """Return the store of torch.distributed by which the workers exchange their addresses."""
        import torch.distributed as distributed

        if isinstance(rendezvous, Path):
            # A file and not a TCP store, at whose port every user of this machine could write.
            return distributed.FileStore(  # pyright: ignore[reportPrivateImportUsage]
                str(rendezvous), self.workers
            )
        listener = rendezvous.listener
        # Without a socket of ours, the store would listen on every interface.
        return distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            rendezvous.host,
            rendezvous.port,
            self.workers,
            is_master=listener is not None,
            timeout=timedelta(seconds=SECONDS_TO_MEET),
            master_listen_fd=listener.detach() if listener else None,
        )

    def all_reduce(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of the arrays of all workers, of the same shape and dtype.

        The array is overwritten by the sum if it is contiguous.

        Raises
        ------
        EngineError
            If another worker has ended.
        """
        total = np.ascontiguousarray(array)
        if self._group is not None:
            import torch

            with _telling_of_lost_workers():
                self._group.all_reduce(torch.from_numpy(total))
        return total


@contextmanager
def _telling_of_lost_workers() -> Generator[None]:
    """Turn gloo's errors about connections into one line."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(LOST) from error


def interface_with(address: str) -> str:
    """Return the name of the network interface of this machine that has an address."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == address for each in addresses):
            return name
    raise EngineError(f"this machine has no interface with the address {address}")
