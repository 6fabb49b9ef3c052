"""``python -m triptych.scale.training.driver FOLDER``: the process that uses Ray Train.

It reads requests from its standard input and writes replies to its standard output, as messages of
`triptych.process.protocol`. The first request tells what is started, and its reply describes the
cluster. Every other one is for the workers; its reply has the worker's answer as ``reply``, or
``lost``: why the workers were lost. ``error`` ends everything. When its input ends, it ends all
processes below it, and itself.
"""

import os
import queue
import sys
import threading
from typing import Any, BinaryIO

from ...errors import TriptychError, one_line
from ...process import machine, protocol
from ...process.protocol import Message
from ..ray.connection import LONGEST_REASON, connected, described
from ..ray.driver import end_all, take_streams
from . import trainer

# How often Ray Train looks whether a worker has ended, in seconds; 2 by default.
SECONDS_BETWEEN_LOOKS = "0.2"
TRAIN_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": SECONDS_BETWEEN_LOOKS,
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
# A process that asks whether a cloud is about to take a node away.
LOCAL_SETTINGS = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}


def main(folder: str) -> None:
    """Answer requests until the input ends.

    Parameters
    ----------
    folder : str
        Where Ray puts its own files; the supervisor deletes it.
    """
    requests, replies = take_streams()
    try:
        first = protocol.receive(requests).values
    except EOFError:
        return
    posted: queue.Queue[Message] = queue.Queue()
    threading.Thread(target=_read, args=(requests, posted, folder), daemon=True).start()
    os.environ.update(TRAIN_SETTINGS if first["address"] else TRAIN_SETTINGS | LOCAL_SETTINGS)
    writing = threading.Lock()
    try:
        _run(first, posted, replies, writing, folder)
    except TriptychError as error:
        _send(replies, writing, {"error": str(error)})
    except Exception as error:
        reason = one_line(str(error).strip() or type(error).__name__, LONGEST_REASON)
        _send(replies, writing, {"error": f"Ray Train: {reason}"})


def _read(requests: BinaryIO, posted: "queue.Queue[Message]", folder: str) -> None:
    """Read requests to the end of the input; then end everything."""
    while True:
        try:
            posted.put(protocol.receive(requests))
        except EOFError:
            end_all(folder)


def _run(
    first: dict[str, Any],
    posted: "queue.Queue[Message]",
    replies: BinaryIO,
    writing: threading.Lock,
    folder: str,
) -> None:
    """Connect to Ray, start the workers, and hand requests and answers on."""
    address = first["address"]
    workers = first["workers"]
    threads = first["threads"]
    with connected(
        address, folder, processors=workers * threads, stored_bytes=first["bytes"]
    ) as variables:
        trainer.check_capacity(workers, threads)
        _send(replies, writing, described().to_json())
        mailbox = trainer.create_mailbox(workers)
        relay = threading.Thread(
            target=_relay, args=(mailbox, posted, replies, writing), daemon=True
        )
        relay.start()
        trainer.keep_training(
            mailbox,
            engine=first["engine"],
            workers=workers,
            native=first["native"],
            threads=threads,
            variables=machine.library_settings(threads, "cpu") | variables,
            folder=folder,
            on_this_machine=address is None,
        )


def _relay(
    mailbox: Any, posted: "queue.Queue[Message]", replies: BinaryIO, writing: threading.Lock
) -> None:
    """Hand requests to the workers, one after the other, and their answers back."""
    import ray
    from ray.exceptions import RayError

    while True:
        request = posted.get()
        try:
            sealed = ray.put((request.values, request.arrays))
            answer = ray.get(mailbox.ask.remote([sealed]))
            if isinstance(answer, str):
                _send(replies, writing, {"lost": answer})
                continue
            values, arrays = ray.get(answer[0])
        except RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            _send(replies, writing, {"lost": one_line(lines[0], LONGEST_REASON)})
            continue
        _send(replies, writing, {"reply": values}, arrays)


def _send(
    replies: BinaryIO,
    writing: threading.Lock,
    values: dict[str, Any],
    arrays: "dict[str, Any] | None" = None,
) -> None:
    with writing:
        protocol.send(replies, values, arrays)


if __name__ == "__main__":
    main(sys.argv[1])
