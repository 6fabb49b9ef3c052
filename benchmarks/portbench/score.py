"""Runs a tool on every pair of a folder, and keeps its answers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import psutil

from triptych.core.files import write
from triptych.errors import TriptychError, one_line

from ..progress import progress
from .judge import Outcome, judge

SECONDS_BETWEEN_LOOKS = 0.1
MEBIBYTE = 2**20
LONGEST_OUTPUT = 2000  # characters of what the tool printed that are kept
PLACES = ("{a}", "{b}", "{batch}", "{json}")


class Tool(Protocol):
    """A tool that compares two programs.

    Attributes
    ----------
    command : str
        What it is called by; answers are kept for this command.
    """

    command: str

    def run(self, pair: Path, place: Path) -> dict[str, Any]:
        """Compare the programs of a pair.

        Parameters
        ----------
        pair : Path
            The pair's folder, without its truth.
        place : Path
            A folder for files.

        Returns
        -------
        dict
            ``answer``, the tool's JSON or None; ``problem``, why there is none; ``seconds`` of wall
            time, ``processor_seconds`` of all its processes, and ``peak`` memory in MiB, or None
            where they are not measured.
        """
        ...

    def close(self) -> None:
        """End what the tool has started."""
        ...


class CommandTool:
    """A tool that is a command line.

    Parameters
    ----------
    command : str
        Its command line, in which ``{a}``, ``{b}``, ``{batch}`` and ``{json}`` stand for the files
        of a pair and for the file that it must write.
    limit : float
        Seconds after which it is stopped.

    Raises
    ------
    TriptychError
        If the command lacks one of them.
    """

    def __init__(self, command: str, limit: float) -> None:
        missing = [place for place in PLACES if place not in command]
        if missing:
            raise TriptychError(f"the command has no {' and no '.join(missing)}")
        self.command = command
        self.limit = limit

    def run(self, pair: Path, place: Path) -> dict[str, Any]:
        """Run the command on a pair, and measure its time and memory."""
        answer = place / "answer.json"
        files = {"a": pair / "torch_side.py", "b": pair / "keras_side.py",
                 "batch": pair / "batch.npz", "json": answer}  # fmt: skip
        words = [_filled(word, files) for word in shlex.split(self.command)]
        before = _processor_seconds()
        status, seconds, peak, output = _watch(words, self.limit, place)
        used = _processor_seconds() - before
        found, problem = read(answer)
        if status is None:
            found, problem = None, f"stopped after {self.limit:g} seconds"
        elif found is None:
            problem = f"{problem} (exit status {status})"
        return {"status": status, "seconds": round(seconds, 2),
                "processor_seconds": round(used, 2), "peak": round(peak, 1),
                "answer": found, "problem": problem, "output": output}  # fmt: skip

    def close(self) -> None:
        """Do nothing: the command has ended."""


def score(folder: Path, tool: Tool, results: Path) -> list[Outcome]:
    """Run a tool on every pair of a folder, except those that it has answered before.

    Parameters
    ----------
    folder : Path
        Pairs in the form of the specimens: one folder each, with ``truth.json``.
    tool : Tool
        The tool.
    results : Path
        Where the answers are kept, one file for each pair.

    Returns
    -------
    list of Outcome
        In the order of the pairs' names.

    Raises
    ------
    TriptychError
        If the folder has no pairs.
    """
    pairs = sorted(path.parent for path in folder.glob("*/truth.json"))
    if not pairs:
        raise TriptychError(f"{folder}: no pairs (folders with truth.json)")
    outcomes: list[Outcome] = []
    for place, pair in enumerate(pairs):
        progress(f"{place + 1} of {len(pairs)}: {pair.name}", passing=True)
        result = _kept(results / f"{pair.name}.json", tool) or _run(pair, tool, results)
        truth = json.loads((pair / "truth.json").read_text())
        outcomes.append(judge(pair.name, truth, result))
    return outcomes


def _kept(path: Path, tool: Tool) -> dict[str, Any] | None:
    """Return the result of an earlier run of the same command, or None."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return result if result.get("command") == tool.command else None


def _run(pair: Path, tool: Tool, results: Path) -> dict[str, Any]:
    """Run a tool on a copy of a pair without its truth; keep and return the result."""
    with tempfile.TemporaryDirectory(prefix="portbench-") as place:
        copy = Path(place) / "pair"
        shutil.copytree(pair, copy, ignore=shutil.ignore_patterns("truth.json", "__pycache__"))
        result = {"command": tool.command} | tool.run(copy, Path(place))
    write(results / f"{pair.name}.json", json.dumps(result, indent=1) + "\n")
    return result


def _filled(word: str, files: dict[str, Path]) -> str:
    for name, path in files.items():
        word = word.replace(f"{{{name}}}", str(path))
    return word


def _watch(words: list[str], limit: float, place: Path) -> tuple[int | None, float, float, str]:
    """Run a command; return its exit status (None if it was stopped), seconds, MiB and output."""
    log = place / "output.txt"
    began = time.monotonic()
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                words, stdout=stream, stderr=subprocess.STDOUT, cwd=place, start_new_session=True
            )
        except OSError as error:
            raise TriptychError(f"{words[0]}: cannot be run ({error.strerror})") from None
        peak = 0.0
        while process.poll() is None and time.monotonic() - began < limit:
            peak = max(peak, _memory(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
        seconds = time.monotonic() - began
        status = process.poll()
        if status is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    output = log.read_text(errors="replace")[-LONGEST_OUTPUT:]
    return status, seconds, peak, output


def _processor_seconds() -> float:
    """Return the processor time of all processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _memory(pid: int) -> float:
    """Return the resident memory of a process and its children, MiB."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total / MEBIBYTE


def read(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return a tool's answer, and why there is none.

    An answer is an object with ``schema`` 1, a text ``verdict`` and a list ``findings`` of objects.
    """
    try:
        answer = json.loads(path.read_text())
    except FileNotFoundError:
        return None, "no JSON was written"
    except (OSError, ValueError) as error:
        return None, f"the JSON cannot be read: {one_line(error)}"
    if not isinstance(answer, dict) or answer.get("schema") != 1:
        return None, "the JSON is not of schema 1"
    findings = answer.get("findings")
    if not isinstance(findings, list) or not all(isinstance(item, dict) for item in findings):
        return None, "findings must be a list of objects"
    if not isinstance(answer.get("verdict"), str):
        return None, "verdict must be a text"
    return answer, ""
