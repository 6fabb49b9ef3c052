"""The process of one of two workers that share steps, ``python -m benchmarks.scaling_worker``."""

import sys
import time
from importlib import import_module

import numpy as np

from triptych.process import server
from triptych.process.protocol import Message
from triptych.scale import worker

WARM_UPS = 3


class Worker(worker.ShardWorker):
    """Answers one message more: how long the sum of some bytes takes."""

    def __init__(self) -> None:
        super().__init__()
        self.handlers["all_reduce"] = self.all_reduce

    def all_reduce(self, request: Message) -> Message:
        """Add ``size`` bytes of all workers ``times`` times, in place; return each time."""
        import torch
        import torch.distributed as distributed

        values = torch.from_numpy(np.zeros(request.values["size"] // 4, np.float32))
        seconds: list[float] = []
        for _ in range(WARM_UPS + request.values["times"]):
            before = time.perf_counter()
            distributed.all_reduce(values)
            seconds.append(time.perf_counter() - before)
        return Message({"seconds": seconds[WARM_UPS:]}, {})


if __name__ == "__main__":
    worker.end_with_parent()
    import_module(sys.argv[1])
    server.main(Worker())
