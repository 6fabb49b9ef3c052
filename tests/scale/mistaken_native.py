"""A worker process of native workers with a mistake: ``python -m scale.mistaken_native MODULE``."""

import sys
from importlib import import_module
from typing import Any

import numpy as np

from triptych.process import server
from triptych.scale import worker
from triptych.scale.native import NativeParallelEngine


class MeanLosses(NativeParallelEngine):
    """The losses of each worker's part are averaged: DistributedDataParallel as it comes."""

    def factors_of(self, plan: Any, part: Any, labels: Any) -> np.ndarray:
        return np.ones(len(plan))


def sum_twice() -> None:
    """Let TensorFlow add the gradients, and then let it add them again."""
    import tensorflow as tf

    from triptych.engines.tensorflow import native

    once = native.mean_over_workers

    def twice(values: Any) -> Any:
        context = tf.distribute.get_replica_context()
        added = once(values)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, added)

    native.mean_over_workers = twice


if __name__ == "__main__":
    worker.end_with_parent()
    import_module(sys.argv[1])
    if sys.argv[1] == "tensorflow":
        sum_twice()
    else:
        worker.NativeParallelEngine = MeanLosses
    server.main(worker.ShardWorker())
