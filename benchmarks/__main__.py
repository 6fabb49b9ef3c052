"""The command ``python -m benchmarks``: it prints each workload's figures, and writes the ratios.

Usage: ``python -m benchmarks [WORKLOAD …] [--threads 1,2] [--rounds N] [--all-backends]
[--data NAME|PATH] [--json FILE]``
"""

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

USER_ERROR = 2  # exit status
STOPPED = 130  # exit status after Ctrl-C: 128 plus the number of the signal
CLOSED_PIPE = 141  # likewise


def main() -> None:
    """Run the command line.

    The exit status is 0 if everything was measured, 1 if something was not, 2 after a user's
    mistake, and 130 after Ctrl-C.
    """
    options = arguments()
    try:
        if not measure_all(options):
            sys.exit("benchmarks: not everything was measured; the lines above say what, and why")
    except TriptychError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except BrokenPipeError:
        # The reader has closed the pipe, so what Python writes at exit must go elsewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED_PIPE)
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        sys.exit(STOPPED)


def measure_all(options: argparse.Namespace) -> bool:
    """Print each block, and write the ratios so far, as soon as it is measured.

    Returns
    -------
    bool
        Whether everything was measured.
    """
    check(options)
    ratios: list[dict[str, Any]] = []
    complete = True
    save(
        options.json, ratios
    )  # at once, because an hour later it would be late to learn that it fails
    print(machine_line())
    for name, settings in jobs(options):
        try:
            for measured in blocks(name, settings):
                print("", *measured.text(), sep="\n", flush=True)
                complete = complete and measured.ok
                ratios += measured.entries()
                save(options.json, ratios)
        except TriptychError as error:  # it concerns this workload alone
            print(f"\n{name}: not measured: {error}", flush=True)
            complete = False
    return complete


def check(options: argparse.Namespace) -> None:
    """Raise a TriptychError if a workload is unknown, or threads or data are not available."""
    for name in options.workloads:
        if name not in WORKLOADS:
            raise TriptychError(f"workload {name!r} is unknown; {suggest(name, WORKLOADS)}")
    for threads in options.threads:
        machine.environment(threads, "cpu")  # refuses more than there are processors
    if options.data:
        data.load(options.data)


def save(path: Path | None, ratios: list[dict[str, Any]]) -> None:
    """Write the ratios, if there is a file for them."""
    if path is None:
        return
    try:
        write(path, json.dumps(ratios, indent=2) + "\n")
    except OSError as error:
        raise TriptychError(f"{path}: cannot be written ({error.strerror})") from None


def blocks(name: str, settings: Settings) -> Iterator[Measured]:
    """Measure one workload, except wall times on a machine that is busy from the beginning."""
    progress(f"{name}, threads: {settings.threads}")
    workload = WORKLOADS[name]
    if workload.timed and not settings.processor_time:
        refused = Timing(name, workload.title, settings, others=others_now())
        if refused.busy:
            return iter([refused])
    return workload.measure(name, settings)


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Time Triptych's engines and what people use instead. "
        "Run it only in a checkout, because Python imports modules from the folder "
        "in which it is started.",
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        default=list(WORKLOADS),
        metavar="WORKLOAD",
        help=f"{', '.join(WORKLOADS)}; all by default",
    )
    default = ",".join(str(threads) for threads in (1, 2) if threads <= machine.processors())
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
    if min([*options.threads, options.rounds]) < 1:
        parser.error("--threads and --rounds must be at least 1")
    return options


def numbers(text: str) -> list[int]:
    """Return the numbers of a text, which are separated by commas."""
    return [int(part) for part in text.split(",")]


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, Settings]]:
    """Yield each workload with each number of threads; what is not timed only with the first."""
    for name in options.workloads:
        threads = options.threads if WORKLOADS[name].timed else options.threads[:1]
        for count in threads:
            yield name, Settings(count, options.rounds, options.all_backends, options.data)


def machine_line() -> str:
    """Return the machine, the libraries, and the variables that decide how they compute."""
    description = machine.describe()
    variables = machine.kernel_settings()
    variables["OMP_WAIT_POLICY"] = machine.environment(1, "cpu")["OMP_WAIT_POLICY"]
    parts = [
        description["processor"],
        f"{description['cores']} cores",
        f"load {description['load']}",
    ]
    parts += [f"{name} {version}" for name, version in description["versions"].items()]
    parts += [f"{name}={value}" for name, value in variables.items()]
    return ", ".join(parts)


if __name__ == "__main__":
    main()
