"""python -m benchmarks R3 [--threads N] [--rounds N] [--json FILE]"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from triptych.bench import machine
from triptych.bench.rounds import ROUNDS
from triptych.bench.rows import remote_of
from triptych.bench.statistics import interval
from triptych.errors import TriptychError, suggest
from triptych.files import write

from .race import Race
from .workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Time Triptych's engines against what people use instead.")
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each contestant; %(default)s by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="that were undisturbed; %(default)s by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the ratios")
    options = parser.parse_args()
    if min(options.threads, options.rounds) < 1:
        parser.error("--threads and --rounds must be at least 1")
    try:
        if unknown := [name for name in options.workloads if name not in WORKLOADS]:
            raise TriptychError(f"workload {unknown[0]!r} is unknown; {suggest(unknown[0], WORKLOADS)}")
        found = [entry for name in options.workloads for entry in timed(name, options.threads, options.rounds)]
    except TriptychError as error:
        sys.exit(f"benchmarks: {error}")
    if options.json:
        write(options.json, json.dumps(found, indent=2) + "\n")


def timed(name: str, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Prove and time one workload; print what was found, and return the ratios."""
    race = Race(WORKLOADS[name](), threads)
    try:
        race.prove()
        race.run(rounds)
        about, forced = machine.describe(), [f"{variable}={value}" for variable, value in machine.kernel_settings().items()]
        print(f"{name}: {race.workload.title}; float64 weights equal")
        print(", ".join([about["processor"], f"load {about['load']}", f"{threads} threads", *forced]))
        for row in race.rows:
            blocks, blas = race.blocks(row), "; ".join(remote_of(row).ask("memory")[0]["blas"])
            ms = interval([1e3 * block.seconds for block in blocks])
            cpu = np.median([1e3 * block.seconds * block.cpu_share for block in blocks])
            print(f"  {row.spec.key:12} {ms.median:7.2f} ms a step [{ms.low:.2f}, {ms.high:.2f}], {cpu:.2f} on a processor; {blas}")
        found = list(race.ratios(name))
        for entry in found:
            print("  {engine} is {ratio:.2f} [{low:.2f}, {high:.2f}] times as fast as {peer}".format(**entry))
        return found
    finally:
        race.close()


if __name__ == "__main__":
    main()
