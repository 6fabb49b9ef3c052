"""Kill workers of a training with SIGKILL at random steps, and compare the weights.

    python tools/kill_workers.py --kills 10 numpy torch

For each engine two trainings with several workers run under Ray Train: one is undisturbed; of the
other, workers are killed. Printed are the seconds from each kill to the next block of steps, how
many steps were made again, and the largest difference of the weights, which must be 0. Both
run in a network namespace that has nothing but loopback (Linux).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from triptych.training import checkpoint

LOOPBACK_ONLY = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
WORKER = "RayTrainWorker"
EVERY = 100  # steps between two checkpoints
STEPS_PER_EPOCH = 26
STEPS_BETWEEN_KILLS = 150
SECONDS_BETWEEN_LOOKS = 0.02
SECONDS_FOR_A_STEP = 300.0


def main() -> int:
    """Kill, compare, and return 0 where all weights are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engines", nargs="+", metavar="ENGINE")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    equal = True
    for engine in chosen.engines:
        draw = random.Random(f"{chosen.seed}/{engine}")
        with tempfile.TemporaryDirectory(prefix="triptych-kills-") as folder:
            equal &= _certify(engine, chosen.kills, chosen.workers, draw, Path(folder))
    return 0 if equal else 1


def _certify(engine: str, kills: int, workers: int, draw: random.Random, folder: Path) -> bool:
    """Print what the kills of one engine's workers did; return whether no bit has changed."""
    epochs = (kills + 1) * STEPS_BETWEEN_KILLS // STEPS_PER_EPOCH + 1
    whole = _start(engine, workers, epochs, folder / "whole", folder)
    if whole.wait():
        return False
    killed = _start(engine, workers, epochs, folder / "killed", folder)
    for number in range(1, kills + 1):
        at = number * STEPS_BETWEEN_KILLS - draw.randrange(STEPS_BETWEEN_KILLS // 2)
        seconds, again = _kill_one(killed, folder / "killed", at, number, draw)
        load = os.getloadavg()[0]
        figures = f"{seconds:.1f} s, {again} steps again, load {load:.1f}"
        print(f"{engine}: kill {number} at step {at}: {figures}")
    if killed.wait():
        return False
    difference = _difference(_state(folder / "whole"), _state(folder / "killed"))
    print(f"{engine}: {kills} kills, largest difference of weights and slots {difference:g}")
    return difference == 0


def _start(
    engine: str, workers: int, epochs: int, runs: Path, home: Path
) -> "subprocess.Popen[bytes]":
    words = ["train", engine, "--data=digits", "--network=custom", "--batch-size=64"]
    words += ["--optimizer=adam", f"--epochs={epochs}", f"--workers={workers}"]
    words += [f"--checkpoint-every={EVERY}", f"--runs={runs}"]
    return subprocess.Popen(
        [*LOOPBACK_ONLY, sys.executable, "-m", "triptych", *words],
        env=os.environ | {"HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )


def _kill_one(
    process: "subprocess.Popen[bytes]", runs: Path, at: int, number: int, draw: random.Random
) -> tuple[float, int]:
    """Kill a worker at a step; return the seconds until steps are made again, and how many are."""
    _wait(process, lambda: _last_step(_events(runs)) >= at)
    family = psutil.Process(process.pid).children(recursive=True)
    workers = [each for each in family if WORKER in " ".join(each.cmdline())]
    draw.choice(workers).kill()
    begun = time.monotonic()
    _wait(process, lambda: _has_gone_on(_events(runs), number))
    restarts = [event for event in _events(runs) if event["type"] == "workers-restarted"]
    return time.monotonic() - begun, restarts[-1]["again"]


def _wait(process: "subprocess.Popen[bytes]", condition: Any) -> None:
    end = time.monotonic() + SECONDS_FOR_A_STEP
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit("the training has ended, or goes on no more")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _events(runs: Path) -> list[dict[str, Any]]:
    logs = list(runs.glob("*/events.jsonl"))
    if not logs:
        return []
    lines = logs[0].read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _last_step(events: list[dict[str, Any]]) -> int:
    return max((event["step"] for event in events if event["type"] == "block"), default=0)


def _has_gone_on(events: list[dict[str, Any]], restarts: int) -> bool:
    """Return whether steps were made after so many restarts."""
    places = [at for at, event in enumerate(events) if event["type"] == "workers-restarted"]
    if len(places) < restarts:
        return False
    return any(event["type"] == "block" for event in events[places[-1] :])


def _state(runs: Path) -> dict[str, np.ndarray]:
    (folder,) = runs.iterdir()
    return checkpoint.load_state(folder / "last" / checkpoint.STATE)[0]


def _difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(array - other[name]).max()) for name, array in one.items())


if __name__ == "__main__":
    sys.exit(main())
