"""No descendant is left, also none whose parent has ended; without Ray."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.commands import environment, wait_until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to a subreaper"),
]

# Starts a process that ignores SIGTERM and whose parent ends at once; prints its number.
ORPHAN = """
import os, signal, subprocess, sys, time
from triptych.scale.ray import family
family.adopt_orphans()
code = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " \\
    "print(os.getpid(), flush=True); time.sleep(600)"
starter = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}])"
subprocess.run([sys.executable, "-c", starter], check=True)
"""
ENDS_THEM = ORPHAN + "time.sleep(1)\nfamily.end_descendants()\nprint('ended', flush=True)"
WATCHES_ITS_INPUT = (
    ORPHAN
    + """
def end():
    family.end_descendants()
    os._exit(0)

family.at_end_of_input(sys.stdin.buffer, end)
time.sleep(600)
"""
)


def test_an_orphan_is_ended(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS_THEM],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    number, ended = done.stdout.split()
    assert ended == "ended"
    assert not psutil.pid_exists(int(number))


def test_all_end_when_the_writer_of_the_input_is_killed(tmp_path: Path) -> None:
    writer = (
        "import subprocess, sys; "
        f"one = subprocess.Popen([sys.executable, '-c', {WATCHES_ITS_INPUT!r}], "
        "stdin=subprocess.PIPE); one.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", writer],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    orphan = psutil.Process(int(process.stdout.readline()))
    below = psutil.Process(process.pid).children(recursive=True)
    assert orphan in below
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until(lambda: not any(each.is_running() for each in below), 20)
