"""Kill workers of a training, or a node of a cluster, and compare the weights.

    python tools/kill_workers.py numpy torch
    python tools/kill_workers.py --node numpy

For each engine two trainings with several workers run under Ray Train, in a network namespace that
has nothing but loopback (Linux). One is undisturbed; of the other, workers are killed with SIGKILL
at random steps. Printed are the seconds from each kill to the next block of steps, how many steps
were made again, and the largest difference of weights and slots, which must be 0.

With ``--node`` the workers run on a cluster of three nodes with a processor each, which are
processes of this machine, and one node is killed. With ``--cluster`` all nodes are killed, and what
the command then tells is printed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from triptych.training import checkpoint

LOOPBACK_ONLY = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
INSIDE = "TRIPTYCH_IN_A_NAMESPACE"  # a variable that this program sets for itself
PORT = 6379
NODE = {"num_cpus": 1, "object_store_memory": 90 * 2**20, "node_ip_address": "127.0.0.1"}
WORKER = "RayTrainWorker"
WORKERS = 2
EVERY = 100  # steps between two checkpoints
STEPS_PER_EPOCH = 26
STEPS_BETWEEN_KILLS = 150
SECONDS_BETWEEN_LOOKS = 0.02
SECONDS_FOR_A_STEP = 300.0

Json = dict[str, Any]


def main() -> int:
    """Kill, compare, and return 0 where all weights are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engines", nargs="+", metavar="ENGINE")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--node", action="store_true", help="kill a node of a cluster")
    parser.add_argument("--cluster", action="store_true", help="kill a whole cluster")
    chosen = parser.parse_args()
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp(LOOPBACK_ONLY[0], [*LOOPBACK_ONLY, sys.executable, *sys.argv])
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    equal = True
    with tempfile.TemporaryDirectory(prefix="triptych-kills-") as home:
        os.environ["HOME"] = home
        for engine in chosen.engines:
            draw = random.Random(f"{chosen.seed}/{engine}")
            folder = Path(home, engine)
            if chosen.node or chosen.cluster:
                equal &= _kill_nodes(engine, folder, everything=chosen.cluster)
            else:
                equal &= _kill_workers(engine, chosen.kills, draw, folder)
    return 0 if equal else 1


def _kill_workers(engine: str, kills: int, draw: random.Random, folder: Path) -> bool:
    """Print what the kills of one engine's workers did; return whether no bit has changed."""
    whole = _train(engine, kills, folder / "whole")
    _require(whole.wait() == 0)
    killed = _train(engine, kills, folder / "killed")
    for number in range(1, kills + 1):
        at = number * STEPS_BETWEEN_KILLS - draw.randrange(STEPS_BETWEEN_KILLS // 2)
        _wait(killed, lambda at=at: _last_step(folder / "killed") >= at)
        draw.choice(_workers_below(killed.pid)).kill()
        print(f"{engine}: kill {number} at step {at}: {_recovery(killed, folder, number)}")
    _require(killed.wait() == 0)
    return _compare(engine, folder)


def _kill_nodes(engine: str, folder: Path, *, everything: bool) -> bool:
    """Print what the kill of a node did, or of all; return whether no bit has changed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_USAGE_STATS_REPORT_URL"] = "http://127.0.0.1:9"
    os.environ["RAY_AUTH_MODE"] = "token"
    command = [str(Path(sys.executable).with_name("ray")), "get-auth-token", "--generate"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    from ray.cluster_utils import Cluster

    head = NODE | {"gcs_server_port": PORT, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    address = f"--address=127.0.0.1:{PORT}"
    try:
        if not everything:
            _require(_train(engine, 1, folder / "whole", address).wait() == 0)
        killed = _train(engine, 1, folder / "killed", address)
        _wait(killed, lambda: _last_step(folder / "killed") >= EVERY)
        if everything:
            cluster.shutdown()
            print(f"{engine}: exit status {killed.wait()}")
            return True
        cluster.remove_node(_with_a_worker(nodes), allow_graceful=False)
        print(f"{engine}: kill of a node: {_recovery(killed, folder, 1)}")
        _require(killed.wait() == 0)
    finally:
        cluster.shutdown()
    return _compare(engine, folder)


def _train(engine: str, kills: int, runs: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Start a training that is long enough for so many kills."""
    epochs = (kills + 1) * STEPS_BETWEEN_KILLS // STEPS_PER_EPOCH + 1
    words = ["train", engine, "--data=digits", "--network=custom", "--batch-size=64"]
    words += ["--optimizer=adam", f"--epochs={epochs}", f"--workers={WORKERS}"]
    words += [f"--checkpoint-every={EVERY}", f"--runs={runs}", *options]
    return subprocess.Popen([sys.executable, "-m", "triptych", *words], stdout=subprocess.DEVNULL)


def _workers_below(pid: int) -> list[psutil.Process]:
    """Return the workers of a training below a process."""
    family = psutil.Process(pid).children(recursive=True)
    return [each for each in family if WORKER in " ".join(each.cmdline())]


def _with_a_worker(nodes: list[Any]) -> Any:
    """Return the first node on which a worker runs."""
    for node in nodes:
        if _workers_below(node.all_processes["raylet"][0].process.pid):
            return node
    raise SystemExit("no node but the first has a worker")


def _recovery(process: "subprocess.Popen[bytes]", folder: Path, restarts: int) -> str:
    """Wait until steps are made again; return how long that took, and how many are made again."""
    begun = time.monotonic()
    _wait(process, lambda: _has_gone_on(_events(folder / "killed"), restarts))
    seconds = time.monotonic() - begun
    events = [each for each in _events(folder / "killed") if each["type"] == "workers-restarted"]
    load = os.getloadavg()[0]
    return f"{seconds:.1f} s, {events[-1]['again']} steps again, load {load:.1f}"


def _wait(process: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS_FOR_A_STEP
    while not condition():
        _require(process.poll() is None and time.monotonic() < end)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _require(goes_on: bool) -> None:
    if not goes_on:
        raise SystemExit("the training has ended, or goes on no more")


def _events(runs: Path) -> list[Json]:
    logs = list(runs.glob("*/events.jsonl"))
    if not logs:
        return []
    lines = logs[0].read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _last_step(runs: Path) -> int:
    return max((each["step"] for each in _events(runs) if each["type"] == "block"), default=0)


def _has_gone_on(events: list[Json], restarts: int) -> bool:
    """Return whether steps were made after so many restarts."""
    places = [at for at, event in enumerate(events) if event["type"] == "workers-restarted"]
    if len(places) < restarts:
        return False
    return any(event["type"] == "block" for event in events[places[-1] :])


def _compare(engine: str, folder: Path) -> bool:
    """Print the largest difference of both trainings; return whether there is none."""
    one = _state(folder / "whole")
    other = _state(folder / "killed")
    difference = max(float(np.abs(array - other[name]).max()) for name, array in one.items())
    print(f"{engine}: largest difference of weights and slots {difference:g}")
    return difference == 0


def _state(runs: Path) -> dict[str, np.ndarray]:
    (folder,) = runs.iterdir()
    return checkpoint.load_state(folder / "last" / checkpoint.STATE)[0]


if __name__ == "__main__":
    sys.exit(main())
