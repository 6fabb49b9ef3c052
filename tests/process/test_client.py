"""The coordinator's side of a worker: how it ends one that still computes."""

import time
from concurrent.futures import ThreadPoolExecutor

import psutil

from triptych.process import client
from triptych.process.client import Remote, WorkerDied


def test_a_worker_that_still_owes_a_reply_is_ended_at_once():
    """As after Ctrl-C in a proof, where a thread reads the reply of the reference."""
    remote = Remote("numpy", "eager")
    try:
        remote.greet()
        psutil.Process(remote.pid).suspend()
        with ThreadPoolExecutor(1) as thread:
            reply = thread.submit(remote.ask, "memory")
            while not remote._unanswered.is_set():
                time.sleep(0.01)
            before = time.monotonic()
            remote.close()
            assert time.monotonic() - before < client.SECONDS_TO_END / 2
            assert isinstance(reply.exception(10), WorkerDied)
    finally:
        remote.close()
    assert not psutil.pid_exists(remote.pid)
