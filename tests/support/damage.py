"""Damaged and forged files for the tests: bits flipped, ends cut off, JSON changed, digests made
anew.
"""

import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.commands import environment

from triptych.core import files

BLANK = "0" * 64

# What a key may not hold, and what may not make a reader fail: wrong types, limits of numbers, text
# that is no line.
HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 0.5, -1e308, 1e308, 10**400, 2**63, 10**12),
    *(
        "",
        "a",
        "x" * 10**5,
        "\x1b]0;title\x07\x1b[2J\nall is well",
        "../../elsewhere",
        "[/nope]",
        "$x^$",
        "\0",
    ),
    *([], {}, [[]], [None], {"a": 1}, [1, "a", {}]),
)

# What is put into a request.
FRAGMENTS = (
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"null",
    b"1e999",
    b"-",
    b"NaN",
    b"\x00",
    b"\xff",
)


def about_of(content: bytes) -> dict[str, Any]:
    """Return the metadata of a state."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["triptych"])


def with_header(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return a safetensors file with another header."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def forged_state(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return a state whose metadata is changed and whose digest is right."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"]["triptych"])
    change(about)
    if isinstance(about, dict) and "sha256" in about:
        about = {"sha256": BLANK} | {key: value for key, value in about.items() if key != "sha256"}
    header["__metadata__"]["triptych"] = json.dumps(about)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return _sealed(struct.pack("<Q", len(text)) + text + content[8 + length :])


def forged_results(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return results that are changed and whose digest is right."""
    results = json.loads(content)
    results["sha256"] = BLANK
    change(results)
    return _sealed(json.dumps(results, indent=1).encode())


def _sealed(content: bytes) -> bytes:
    return files.seal(content)[0] if BLANK.encode() in content else content


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Return the content with one bit flipped."""
    broken = bytearray(content)
    broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def cut(content: bytes, rng: random.Random) -> bytes:
    """Return the beginning of the content."""
    return content[: rng.randrange(len(content))]


def mutant(whole: bytes, rng: random.Random) -> bytes:
    """Return a file with some bits flipped, bytes replaced, a part cut out or doubled, or its end
    missing.
    """
    content = bytearray(whole)
    early = rng.random() < 0.5  # where headers are
    where = min(len(content), 100) if early else len(content)
    damage = rng.choice(["bits", "bytes", "numbers", "cut", "double", "truncate"])
    at = rng.randrange(where)
    if damage == "bits":
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(where)] ^= 1 << rng.randrange(8)
    elif damage == "bytes":
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(where)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    elif damage == "numbers":
        content[at : at + 4] = rng.choice(
            [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"]
        )
    elif damage == "cut":
        del content[at : at + rng.randint(1, 40)]
    elif damage == "double":
        content[at:at] = content[at : at + rng.randint(1, 40)]
    else:
        del content[rng.randrange(len(content)) :]
    return bytes(content)


def mutated_request(body: bytes, chance: random.Random) -> bytes:
    """Return a body that is cut off, or of which some bytes are flipped, left out or added."""
    if chance.random() < 0.2:
        return body[: chance.randrange(len(body))]
    content = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(content))
        change = chance.randrange(4)
        if change == 0:
            content[place] ^= 1 << chance.randrange(8)
        elif change == 1:
            del content[place : place + chance.randint(1, 20)]
        elif change == 2:
            content[place:place] = chance.choice(FRAGMENTS)
        else:
            content[place:place] = content[place : place + 30] * chance.randint(1, 50)
        if not content:
            break
    return bytes(content)


def changed(value: Any, rng: random.Random) -> None:
    """Change one place of a JSON value: delete it, or put something else there."""
    places = list(_places(value))
    holder, key = rng.choice(places)
    if rng.random() < 0.25:
        del holder[key]
    else:
        holder[key] = rng.choice(HOSTILE)


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(pairs):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


# Runs commands in one process whose memory is limited, so that a thousand of them take seconds and
# none takes gigabytes.
DRIVER = """
import contextlib, io, json, sys, traceback
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
except (ImportError, OSError, ValueError):
    pass
from triptych.cli import app as cli
for line in sys.stdin:
    said, errors, status, trace = io.StringIO(), io.StringIO(), 0, ""
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            cli.main(json.loads(line))
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            trace = traceback.format_exc()
    print(json.dumps([status, said.getvalue(), errors.getvalue(), trace]), flush=True)
"""


class Driver:
    """A process that runs one command of triptych after another. A context manager."""

    def __init__(self, cwd: Path) -> None:
        self._log = (cwd / "driver.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", DRIVER],
            cwd=cwd,
            env=environment(cwd, COLUMNS="200"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
        self._log.close()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; return its status, what it said and what it said of errors.

        A traceback fails the test.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        status, said, errors, trace = json.loads(self._process.stdout.readline())
        assert not trace, trace
        assert "Traceback" not in errors, errors
        return status, said, errors

    def refused(self, *arguments: str) -> str | None:
        """Run a command; return the one line with which it was refused, or None where it was
        not.
        """
        status, said, errors = self.run(*arguments)
        if status == 0:
            return None
        assert status == 2, (status, said, errors)
        lines = [line for line in errors.splitlines() if line]
        assert len(lines) == 1, errors
        assert len(lines[0]) <= 520, lines[0]
        assert "not enough memory" not in lines[0]
        assert lines[0].isprintable()
        return lines[0]
