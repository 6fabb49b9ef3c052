"""The user's file: run as the user's code, with its folder on the search path."""

import inspect
import sys
import traceback
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from ..errors import one_line
from .frameworks.adapter import ModelError

DEFAULT_FUNCTION = "build"
ON_PROCESSOR = "both sides run on the processor: use torch.device('cpu') in build()"

# What a build function may return, besides the model.
KEYS = (
    "model",
    "parameters",
    "preprocess",
    "loss",
    "loss_weights",
    "optimizer",
    "schedule",
    "schedule_unit",
    "steps_per_epoch",
    "metric",
    "callbacks",
    "batches",
    "batch_size",
)


@dataclass(frozen=True)
class ModelFile:
    """A file and the function in it that builds the model.

    Attributes
    ----------
    path : Path
        The file.
    function : str
        The function without arguments that returns the model, or a dict with it.
    """

    path: Path
    function: str = DEFAULT_FUNCTION

    @classmethod
    def parse(cls, text: str) -> "ModelFile":
        """Return the file of ``file.py`` or ``file.py:function``.

        Raises
        ------
        ModelError
            If there is no such file.
        """
        name, colon, function = text.rpartition(":")
        if not (colon and function.isidentifier() and name.endswith(".py")):
            name, function = text, DEFAULT_FUNCTION
        path = Path(name)
        if not path.is_file():
            raise ModelError(
                f"{text}: no such file or folder; give FILE.py, FILE.py:FUNCTION, or the run "
                "folder of a trained network"
            )
        return cls(path, function)

    def to_json(self) -> dict[str, str]:
        """Return plain values; see `triptych.doctor.side_file.from_json`."""
        return {"kind": "code", "path": str(self.path), "part": self.function}

    def run(self) -> "Parts":
        """Run the file once and return its build function.

        Raises
        ------
        ModelError
            If the file raises an error or has no such function.
        """
        path = self.path.resolve()
        sys.path.insert(0, str(path.parent))
        spec = spec_from_file_location(path.stem, path)
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise ModelError(f"{self.path}: {describe(error, path)}") from error
        build = getattr(module, self.function, None)
        if not callable(build):
            raise ModelError(
                f"{self.path}: has no function {self.function}(); it must take no argument and "
                "return the model, or a dict with model, loss, optimizer, …"
            )
        return Parts(self.path, build)


@dataclass(frozen=True)
class Parts:
    """The build function of a file.

    Attributes
    ----------
    path : Path
        The file, for messages.
    build : callable
        Returns the model or a dict.
    """

    path: Path
    build: Any

    @classmethod
    def of_object(cls, name: str, source: Any) -> "Parts":
        """Return the parts of a model, of a dict with one, or of a function that returns either.

        A function with its parameters may be a pair ``(function, parameters)``; it and a dict with
        ``parameters`` can be used again, because the parameters are copied.

        Parameters
        ----------
        name : str
            What messages call it.
        source : object
            A model or dict is used as it is; it cannot be built again in another precision.
        """
        if isinstance(source, tuple) and len(source) == 2 and callable(source[0]):
            source = {"model": source[0], "parameters": source[1]}
        if isinstance(source, dict) and "parameters" in source:
            given: dict[str, Any] = source
            return cls(Path(name), lambda: given)
        is_function = inspect.isfunction(source) or inspect.ismethod(source)
        if is_function and not _required(source):
            return cls(Path(name), source)
        built: list[Any] = [source]

        def build() -> Any:
            if not built:
                raise ModelError(
                    f"{name}: give a function that builds the model, so that it can be built in "
                    "double precision, too"
                )
            return built.pop()

        return cls(Path(name), build)

    def make(self) -> dict[str, Any]:
        """Call the build function.

        Raises
        ------
        ModelError
            If it raises an error, or returns something else.
        """
        required = _required(self.build)
        if required:
            raise ModelError(
                f"{self.path}: {self.build.__name__}() needs the argument {required[0]!r}; "
                "it must take none"
            )
        try:
            made = self.build()
        except ModelError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelError(f"{self.path}: {describe(error, self.path.resolve())}") from error
        if not isinstance(made, dict):
            made = {"model": made}
        unknown = [key for key in made if key not in KEYS]
        if unknown:
            raise ModelError(
                f"{self.path}: {self.build.__name__}() returns the unknown key {unknown[0]!r}; "
                f"known: {', '.join(KEYS)}"
            )
        if made.get("model") is None:
            raise ModelError(f"{self.path}: {self.build.__name__}() returns no model")
        return made


def _required(function: Any) -> list[str]:
    """Return the names of the arguments that a function must be given."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind in positional
    ]


def describe(error: BaseException, path: Path) -> str:
    """Return the error of a user's file as one line, with the line that raised it.

    Parameters
    ----------
    error : BaseException
        The error.
    path : Path
        The file, absolute. A line of a module next to it is named with the module.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if Path(frame.filename).parent == path.parent]
    where = _place(lines[-1], path) if lines else ""
    text = str(error).strip().splitlines()
    message = f"{where}{type(error).__name__}: {text[0] if text else ''}"
    return one_line(f"{message}; {ON_PROCESSOR}" if "CUDA" in message else message)


def _place(frame: traceback.FrameSummary, path: Path) -> str:
    """Return the line of the user's file, or of another file in its folder, that raised."""
    name = "" if frame.filename == str(path) else f"{Path(frame.filename).name}, "
    return f"{name}line {frame.lineno}: "
