"""Run what is too long for the tests: full seeds, many kills, mutants, whole benchmarks.

    python tools/certify.py                 every stage that has not passed yet
    python tools/certify.py --list          the stages, and which of them have passed
    python tools/certify.py slow-tests      only the named stages, passed or not

A stage that has passed is not run again while the sources are the same, so a certification that was
stopped goes on where it was. Results and logs are in ``.certify/``.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from triptych.core import files, registry
from triptych.spec.optimizers import SHORTHANDS
from triptych.spec.zoo import ZOO

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".certify"
RESULTS = FOLDER / "results.json"
SOURCES = ("*.py", "*.toml", "*.txt", "*.js", "*.html", "*.css")
SEEDS = range(4)

# Their 500 steps with every optimizer take days for each seed, so they come last.
HEAVY = ("best", "resnet20", "resnet")

# PortBench: the number of pairs by the number of their faults, and what the answers of
# ``triptych doctor`` must reach.
PAIRS = {
    1: (300, ("cause=0.95", "stage=0.99")),
    2: (100, ("both=0.85",)),
    0: (200, ("false-alarms=0.01",)),
}
SEED_OF_PAIRS = 1

ENGINES = tuple(registry.entries())  # whose workers are killed


@dataclass(frozen=True)
class Stage:
    """One command that must exit with 0.

    Attributes
    ----------
    name : str
    command : tuple of str
        Arguments of this Python.
    """

    name: str
    command: tuple[str, ...]


def stages() -> list[Stage]:
    """Return every stage, in the order in which they run."""
    verify = ("-P", "-m", "triptych", "verify")
    layers = [
        Stage(
            f"verify-layers-{seed}",
            (*verify, "--layers", "--all", "--steps", "20", "--seed", str(seed)),
        )
        for seed in SEEDS
    ]
    triton = [Stage("tritonserver", ("tools/tritonserver.py",))] if _has_triton() else []
    tests = Stage("slow-tests", ("-m", "pytest", "-m", "slow", "--scale", "10"))
    benchmarks = Stage("benchmarks", ("-m", "benchmarks"))
    kill = "tools/kill_workers.py"
    kills = [
        Stage("kill-workers", (kill, "--kills", "10", *ENGINES)),
        Stage("kill-node", (kill, "--node", *ENGINES)),
    ]
    light = [name for name in ZOO if name not in HEAVY]
    whole = [_whole(name, seed) for names in (light, HEAVY) for seed in SEEDS for name in names]
    return [*layers, *triton, tests, *kills, *_portbench(), benchmarks, *whole]


def _portbench() -> list[Stage]:
    """Return two stages for each kind of pairs: they are generated, and the doctor is scored.

    Both continue where they were stopped. Pairs and answers are kept for these sources only.
    """
    command = ("-m", "benchmarks.portbench")
    place = FOLDER / f"portbench-{_digest()[:12]}"
    found: list[Stage] = []
    for faults, (pairs, requirements) in PAIRS.items():
        folder = str(place / f"faults-{faults}")
        amount = ("--seed", str(SEED_OF_PAIRS), "--pairs", str(pairs), "--faults", str(faults))
        required = [f"--require={each}" for each in requirements]
        tool = ("--function", "triptych.api:diagnose")
        found += [
            Stage(f"portbench-pairs-{faults}", (*command, "generate", *amount, "--out", folder)),
            Stage(f"portbench-score-{faults}", (*command, "score", folder, *tool, *required)),
        ]
    return found


def _has_triton() -> bool:
    """Return whether Triton can be installed, for one of the slow tests."""
    on_linux = sys.platform == "linux" and platform.machine() == "x86_64"
    return on_linux and sys.version_info < (3, 13)  # it needs NumPy 1


def _whole(network: str, seed: int) -> Stage:
    """Return the part of ``triptych verify --all`` that proves one network with every optimizer."""
    optimizers = [f"--optimizer={name}" for name in SHORTHANDS]
    options = (f"--network={network}", *optimizers, "--steps", "500", "--seed", str(seed))
    return Stage(f"verify-all-{network}-{seed}", ("-P", "-m", "triptych", "verify", *options))


def main() -> int:
    """Run the stages; return 0 where all of them have passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="STAGE", help="run only these")
    parser.add_argument("--list", action="store_true", help="show the stages and stop")
    chosen = parser.parse_args()
    known = {stage.name: stage for stage in stages()}
    for name in chosen.names:
        if name not in known:
            parser.error(f"no stage {name!r}; see --list")
    passed = _passed()
    if chosen.list:
        for name in known:
            print(f"{'passed' if name in passed else '      '}  {name}")
        return 0
    names = chosen.names or [name for name in known if name not in passed]
    failed = [name for at, name in enumerate(names, 1) if not _run(known[name], at, len(names))]
    print(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _run(stage: Stage, at: int, count: int) -> bool:
    """Run one stage, record its result and return whether it passed."""
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / f"{stage.name}.log"
    print(f"{at} of {count}: {stage.name} (log: {log.relative_to(ROOT)})", flush=True)
    begun = time.monotonic()
    with log.open("wb") as output:
        status = subprocess.run(
            [sys.executable, *stage.command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    seconds = time.monotonic() - begun
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    outcome = "passed" if status == 0 else f"FAILED with status {status}"
    print(f"  {outcome} after {seconds:,.0f} s: {lines[-1]}")
    _record(stage.name, {"status": status, "seconds": round(seconds, 1), "last_line": lines[-1]})
    return status == 0


def _record(name: str, result: dict[str, object]) -> None:
    """Add a result to the file."""
    kept = _results()
    kept[name] = result
    content = {"sources": _digest(), "stages": kept}
    files.write(RESULTS, json.dumps(content, indent=1))


def _passed() -> set[str]:
    return {name for name, result in _results().items() if result["status"] == 0}


def _results() -> dict[str, dict[str, object]]:
    """Return the results that were found with these sources."""
    try:
        content = json.loads(RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content["stages"] if content.get("sources") == _digest() else {}


def _digest() -> str:
    """Return a SHA-256 of every source file that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *SOURCES], cwd=ROOT, capture_output=True, check=True
    )
    digest = hashlib.sha256()
    for name in sorted(filter(None, listed.stdout.split(b"\0"))):
        path = ROOT / os.fsdecode(name)
        digest.update(name + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
