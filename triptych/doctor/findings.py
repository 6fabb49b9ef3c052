"""What a diagnosis consists of."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["equal", "rounding", "differ", "undecided"]

SCHEMA = 1

# In the order of computation.
STAGES = (
    "data",
    "weights",
    "forward",
    "mode",
    "loss",
    "gradient",
    "update",
    "schedule",
    "buffers",
    "callback",
    "metric",
)


@dataclass(frozen=True)
class Finding:
    """A difference between the two sides.

    Attributes
    ----------
    stage : str
        Where it is: one of `STAGES`.
    cause : str or None
        The id in the catalogue; None if the cause is not known.
    title : str
        One line: what differs.
    layer : dict
        ``a`` and ``b``: the path of the layer on either side, or None.
    values : dict
        ``a`` and ``b``: what each side does, for example ``{"a": 1e-05, "b": 0.001}``.
    effect : dict of str to float
        The size of the difference in this case, by what it is a difference of:
        ``{"output": 1.1e-3}``; ``bound`` is what rounding explains.
    fix : dict
        ``a`` and ``b``: one line of code that makes this side agree with the other, or None.
    proved : bool
        Whether a fix was applied, or the other side's numbers were reproduced, within the bound.
    evidence : str
        What was run to prove it, with its figures; or why it is only suspected.
    """

    stage: str
    cause: str | None
    title: str
    layer: dict[str, str | None] = field(default_factory=lambda: {"a": None, "b": None})
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    effect: dict[str, float] = field(default_factory=dict[str, float])
    fix: dict[str, str | None] = field(default_factory=lambda: {"a": None, "b": None})
    proved: bool = False
    evidence: str = ""


@dataclass(frozen=True)
class Acquittal:
    """Something that differs, or was suspected, and is not the cause.

    Attributes
    ----------
    stage : str
        Where it is.
    cause : str or None
        The id in the catalogue.
    title : str
        One line: what it is.
    evidence : str
        Why it is not the cause, with figures.
    """

    stage: str
    cause: str | None
    title: str
    evidence: str


@dataclass(frozen=True)
class Diagnosis:
    """The answer.

    Attributes
    ----------
    verdict : str
        ``equal``, ``rounding``, ``differ`` or ``undecided``.
    findings : tuple of Finding
        In the order of computation.
    acquitted : tuple of Acquittal
        The same.
    seconds : float
        How long it took.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    acquitted: tuple[Acquittal, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        return {"schema": SCHEMA, **asdict(self)}
