"""What a server is told: runs, address, limits."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import TriptychError

MIB = 2**20
# The variable of prometheus_client: a folder in which several processes share what they count. It
# must be set before the library is imported.
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # of a model, in the path of a URL


@dataclass(frozen=True)
class ModelSource:
    """A run that is served.

    Attributes
    ----------
    path : Path
        A run folder of ``triptych train``, or a state file.
    name : str or None
        The name in URLs; None for the name of its network.
    """

    path: Path
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelSource":
        """Return the source that ``RUN`` or ``NAME=RUN`` describes.

        Raises
        ------
        TriptychError
            If the name cannot be part of a URL.
        """
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            return cls(Path(text))
        check_name(name, text)
        if not path:
            raise TriptychError(f"{text}: no run after the = sign; write {name}=RUN")
        return cls(Path(path), name)


def check_name(name: str, where: object) -> None:
    """Raise `TriptychError` if a name cannot be part of a URL."""
    if not NAME.fullmatch(name):
        raise TriptychError(
            f"{where}: {name!r} cannot be the name of a model in a URL; give one of letters, "
            "digits, dots, hyphens and underscores, as NAME=RUN"
        )


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes
    ----------
    body_bytes : int
        Of a request's body; a longer one is answered with 413.
    batch : int
        Images in a request; more are answered with 400.
    concurrency : int
        Requests that one worker process handles at the same time; one more is answered with 503.
    seconds : float
        Until a request has arrived, and then until its answer is computed. A request that takes
        longer is answered with 408 in the first case and with 504 in the second.
    """

    body_bytes: int
    batch: int
    concurrency: int
    seconds: float

    def __post_init__(self) -> None:
        """Check that all limits are positive."""
        for name in ("body_bytes", "batch", "concurrency", "seconds"):
            if not getattr(self, name) > 0:
                raise TriptychError(f"a limit of {getattr(self, name)} for {name}: must be above 0")


@dataclass(frozen=True)
class ServerSettings:
    """All that a server needs; it is sent to the process that serves, and to its workers.

    Attributes
    ----------
    sources : tuple of ModelSource
        What is served. Sources with the same name are its versions 1, 2, … in this order.
    host : str
        The address to listen at.
    port : int
        The TCP port; 0 for a free one.
    workers : int
        Processes that answer requests.
    limits : Limits
        Of a request.
    token : str or None
        What a client must send as ``Authorization: Bearer TOKEN``; None if anybody is answered.
    """

    sources: tuple[ModelSource, ...]
    host: str
    port: int
    workers: int
    limits: Limits
    token: str | None = field(repr=False)

    def to_json(self) -> str:
        """Return the settings as a text, the token included."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "ServerSettings":
        """Return the settings that `to_json` wrote."""
        values = json.loads(text)
        sources = [ModelSource(Path(item["path"]), item["name"]) for item in values["sources"]]
        return cls(**values | {"sources": tuple(sources), "limits": Limits(**values["limits"])})
