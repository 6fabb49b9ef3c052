"""python -m benchmarks [R1 R3 …] [--threads 1,2] [--rounds N] [--all-backends] [--data NAME|PATH] [--json FILE]"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from triptych.bench.load import others_now
from triptych.bench.rounds import ROUNDS
from triptych.core.files import write
from triptych.data import loading as data
from triptych.errors import TriptychError, suggest
from triptych.process import machine

from .progress import progress
from .timing import Settings, Timing
from .workloads import WORKLOADS, Measured


def main() -> None:
    """Run the command line. Exit status: 0 fine, 1 not everything was measured, 2 a user's mistake, 130 stopped by Ctrl-C."""
    options = arguments()
    try:
        if not measure_all(options):
            sys.exit("benchmarks: not everything was measured; the lines above say what, and why")
    except TriptychError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # somebody has seen enough; what is left is not written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        sys.exit(130)


def measure_all(options: argparse.Namespace) -> bool:
    """Print each block, and write the ratios so far, as soon as it is measured; return whether nothing was refused."""
    if unknown := [name for name in options.workloads if name not in WORKLOADS]:
        raise TriptychError(f"workload {unknown[0]!r} is unknown; {suggest(unknown[0], WORKLOADS)}")
    for threads in options.threads:
        machine.environment(threads, "cpu")  # refuses more than there are processors
    found, ok = list[dict[str, Any]](), True
    if options.data:
        data.load(
            options.data
        )  # now, too: what cannot be read is the same mistake in every workload
    save(
        options.json, found
    )  # now, so that a name that cannot be written is known before an hour is spent
    print(machine_line())
    for name, settings in jobs(options):
        try:
            for measured in blocks(name, settings):
                print("", *measured.text(), sep="\n", flush=True)
                ok, found = ok and measured.ok, found + measured.entries()
                save(options.json, found)
        except TriptychError as error:  # of this workload alone
            print(f"\n{name}: not measured: {error}", flush=True)
            ok = False
    return ok


def save(path: Path | None, ratios: list[dict[str, Any]]) -> None:
    try:
        if path:
            write(path, json.dumps(ratios, indent=2) + "\n")
    except OSError as error:
        raise TriptychError(f"{path}: cannot be written ({error.strerror})") from None


def blocks(name: str, settings: Settings) -> Iterator[Measured]:
    """Measure one workload, unless wall times are wanted of a machine that is plainly busy."""
    progress(f"{name}, threads: {settings.threads}")
    workload = WORKLOADS[name]
    if workload.timed and not settings.processor_time:
        refused = Timing(name, workload.title, settings, others=others_now())
        if refused.busy:
            return iter([refused])
    return workload.measure(name, settings)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Time Triptych's engines against what people use instead. Run it in a checkout only, "
        "because Python imports modules from the folder in which it is started.",
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        default=list(WORKLOADS),
        metavar="WORKLOAD",
        help=f"{', '.join(WORKLOADS)}; all by default",
    )
    default = ",".join(str(n) for n in (1, 2) if n <= machine.processors())
    parser.add_argument(
        "--threads",
        type=numbers,
        default=default,
        metavar="N,…",
        help="of each contestant; %(default)s by default",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        metavar="N",
        help="that were undisturbed; %(default)s by default",
    )
    parser.add_argument(
        "--all-backends",
        action="store_true",
        help="also what compiles for up to a minute, and every backend of ours",
    )
    parser.add_argument(
        "--data", metavar="NAME|PATH", help="images to train on; random ones by default"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the ratios")
    options = parser.parse_args()
    if min(options.threads + [options.rounds]) < 1:
        parser.error("--threads and --rounds must be at least 1")
    return options


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, Settings]]:
    """Yield each workload with each number of threads."""
    for name in options.workloads:
        for threads in options.threads if WORKLOADS[name].timed else options.threads[:1]:
            yield name, Settings(threads, options.rounds, options.all_backends, options.data)


def machine_line() -> str:
    about, set_here = machine.describe(), machine.kernel_settings()
    waiting = {"OMP_WAIT_POLICY": machine.environment(1, "cpu")["OMP_WAIT_POLICY"]}
    forced = [f"{variable}={value}" for variable, value in (set_here | waiting).items()]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return ", ".join(
        [about["processor"], f"{about['cores']} cores", f"load {about['load']}", versions, *forced]
    )


if __name__ == "__main__":
    main()
