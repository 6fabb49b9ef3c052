"""A worker process with a mistake: ``python -m scale.mistaken_worker MODULE``."""

import sys
from importlib import import_module

from scale.mistakes import MeanOfMeans

from triptych.process import server
from triptych.scale import worker

if __name__ == "__main__":
    worker.end_with_parent()
    import_module(sys.argv[1])
    worker.ParallelEngine = MeanOfMeans
    server.main(worker.ShardWorker())
