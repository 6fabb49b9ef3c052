"""A tool that is a Python function, which a process that has imported everything calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from triptych.errors import TriptychError

from .score import read
from .workers import JobError, NoAnswer, Worker


class FunctionTool:
    """A function ``f(a, b, batch)`` of both programs' ``build`` functions and the batch's arrays.

    It is called for every pair in a fork of a process that has imported the frameworks, which saves
    most of the time that a command needs; times and memory are not measured. It returns the answer
    as a dict, or an object with ``to_json()``.

    Parameters
    ----------
    name : str
        ``MODULE:NAME``.
    limit : float
        Seconds after which a call is stopped.

    Raises
    ------
    TriptychError
        If the name has another form.
    """

    def __init__(self, name: str, limit: float) -> None:
        module, _, function = name.partition(":")
        if not (module and function.isidentifier()):
            raise TriptychError(f"{name!r} is not MODULE:NAME, a function in a module")
        self.command = name
        self.limit = limit
        self._worker: Worker | None = None

    def run(self, pair: Path, place: Path) -> dict[str, Any]:
        """Call the function for a pair; return its answer, or why there is none.

        Raises
        ------
        TriptychError
            If the function cannot be imported.
        """
        out = place / "answer.json"
        if self._worker is None:
            self._worker = Worker("function_runner", self.command, self.limit)
        try:
            self._worker.run({"folder": str(pair), "out": str(out)})
        except JobError as error:
            answer, problem = None, str(error)
            if isinstance(error, NoAnswer):
                self.close()  # it may still be busy
        else:
            answer, problem = read(out)
        return {"seconds": None, "processor_seconds": None, "peak": None, "answer": answer,
                "problem": problem}  # fmt: skip

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
