"""Forks the processes of scripts: ``python -P -m triptych.doctor.script.torch.server``.

PyTorch is imported once, before, so that each process begins at once. A request is a line of JSON
with ``settings``, ``folder`` and ``environment``, and is answered by ``{"pid": …}``. When a process
ends, ``{"pid": …, "status": …}`` follows. The server ends with its input, and all processes with
it.
"""

import json
import os
import random
import selectors
import signal
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch._dynamo  # by optimizers, so that each process would import it
import torch.distributed

from ....process import machine
from ....scale.all_reduce import interface_with
from ..records import OUTPUT
from . import recorder, replacements, runner  # noqa: F401 - as are the first two

FILES_OF_SERVER = 64  # the server has fewer open files


def main() -> None:
    """Answer requests until the input ends."""
    requests = sys.stdin.buffer
    replies = sys.stdout
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    waiting = selectors.DefaultSelector()
    waiting.register(requests, selectors.EVENT_READ)
    waiting.register(woken, selectors.EVENT_READ)
    while True:
        ready = {key.fileobj for key, _ in waiting.select()}
        if woken in ready:
            os.read(woken, 4096)
        _tell_ends(replies)
        if requests in ready:
            line = requests.readline()
            if not line:
                return
            _tell(replies, pid=_fork(json.loads(line)))


def _tell(replies: IO[str], **values: int) -> None:
    replies.write(json.dumps(values) + "\n")
    replies.flush()


def _tell_ends(replies: IO[str]) -> None:
    """Tell which processes have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(replies, pid=pid, status=os.waitstatus_to_exitcode(status))


def _fork(request: dict[str, Any]) -> int:
    """Begin a process; return its number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _become_script(request)
        status = runner.main(Path(request["settings"]))
    finally:
        os._exit(status)  # without waiting for threads of gloo or of the script


def _become_script(request: dict[str, Any]) -> None:
    """Make a forked process one that looks as if it had been started alone."""
    os.setsid()  # what it starts is ended together with it
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(
        Path(request["folder"]) / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
    )
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, FILES_OF_SERVER)
    sys.stdin = open(0)  # noqa: SIM115 - as every process has it
    os.environ.update(request["environment"])
    # gloo listens on the interface that it is told, and else on the one of the host's name.
    os.environ["GLOO_SOCKET_IFNAME"] = interface_with(machine.LOOPBACK)
    # A fork has the random numbers of the server, where a process of its own has others.
    random.seed()
    np.random.seed()  # noqa: NPY002 - the one that scripts use without seeding it
    torch.seed()


if __name__ == "__main__":
    main()
