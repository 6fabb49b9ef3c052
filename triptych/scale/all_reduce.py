"""The sum of arrays over several worker processes: gloo of torch.distributed, on loopback only."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EngineError
from ..process.machine import LOOPBACK
from .messages import LOST

DAYS_TO_WAIT = 7  # for another worker, which may be slow; the coordinator ends what waits in vain


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
    rendezvous : Path
        A file that does not exist yet, by which the workers find each other.
    always : bool
        Whether one worker alone joins a group of PyTorch, too.

    Raises
    ------
    EngineError
        If PyTorch is not installed, or another worker has ended.
    """

    def __init__(self, rank: int, workers: int, rendezvous: Path, *, always: bool = False) -> None:
        self.rank = rank
        self.workers = workers
        self._group: Any = None
        if workers > 1 or always:
            self._join(rendezvous)

    def _join(self, rendezvous: Path) -> None:
        try:
            import torch.distributed as distributed
        except ImportError:
            raise EngineError(
                "several workers add their gradients with PyTorch: pip install torch"
            ) from None
        # gloo listens on the interface that it is told, and else on the one of the host's name.
        os.environ["GLOO_SOCKET_IFNAME"] = loopback_interface()
        # A file and not a TCP store, which listens on every interface.
        store = distributed.FileStore(  # pyright: ignore[reportPrivateImportUsage]
            str(rendezvous), self.workers
        )
        with _telling_of_lost_workers():
            distributed.init_process_group(
                "gloo",
                store=store,
                rank=self.rank,
                world_size=self.workers,
                timeout=timedelta(days=DAYS_TO_WAIT),
            )
        self._group = distributed

    def all_reduce(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of the arrays of all workers, of the same shape and dtype.

        Raises
        ------
        EngineError
            If another worker has ended.
        """
        total = np.array(array, order="C")
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


def loopback_interface() -> str:
    """Return the name of the network interface that never leaves this machine."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == LOOPBACK for each in addresses):
            return name
    raise EngineError(f"this machine has no interface with the address {LOOPBACK}")
