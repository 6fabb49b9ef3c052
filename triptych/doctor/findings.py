"""What a diagnosis consists of."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from .catalogue.entry import Stage
from .observation import Description
from .timing import Timing

Verdict = Literal["equal", "rounding", "differ", "undecided"]

SCHEMA = 1
MOST_PATHS = 4  # of layers that a line of text lists

STAGES: tuple[str, ...] = get_args(Stage)  # in the order of computation


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

    def about(self, side: str) -> str:
        """Return in which layers side ``a`` or ``b`` differs, and what it does there, as text."""
        layers = [self.layer, *self.values.get("also", [])]
        paths = [path for layer in layers if (path := layer.get(side))]
        parts = (f"in {listed(paths)}" if paths else "", _written(self.values.get(side)))
        return ": ".join(part for part in parts if part)

    def also_in(self, layer: dict[str, str | None]) -> "Finding":
        """Return the same finding with another layer in ``values["also"]``."""
        also = [*self.values.get("also", []), layer]
        return replace(self, values=self.values | {"also": also})


def listed(paths: list[str]) -> str:
    """Return paths as text: the first ones, and the number of the others."""
    if len(paths) <= MOST_PATHS:
        return ", ".join(paths)
    return f"{', '.join(paths[:MOST_PATHS])} and {len(paths) - MOST_PATHS} more"


def _written(value: Any) -> str:
    """Return a value of a finding as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={each}" for key, each in value.items())
    return "" if value is None else str(value)


def merged(findings: Iterable[Finding], key: Callable[[Finding], Hashable]) -> list[Finding]:
    """Return one finding for all those with the same key: the first, with the others' layers."""
    result: dict[Hashable, Finding] = {}
    for finding in findings:
        common = key(finding)
        first = result.setdefault(common, finding)
        if first is not finding:
            result[common] = first.also_in(finding.layer)
    return list(result.values())


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
class LayerRow:
    """Two layers that belong together, and how far they agree when both are fed what A has.

    Attributes
    ----------
    a, b : str
        The paths of the layers.
    a_type, b_type : str
        Their classes.
    arriving : float
        The difference of what arrives at the layers, over the largest value: what happened since
        the layers before. Infinity if the shapes differ.
    output : float
        The same of what the layers make of the same input.
    gradient : float or None
        The same of the gradients of their weights; None without a loss.
    """

    a: str
    b: str
    a_type: str
    b_type: str
    arriving: float
    output: float
    gradient: float | None = None


@dataclass(frozen=True)
class StageRow:
    """How far the two sides agree at one stage.

    Attributes
    ----------
    stage : str
        Its name.
    largest : float
        The largest relative difference of what counts as equal.
    bound : float
        What rounding explains.
    findings : int
        The number of differences.
    note : str
        What was not compared, and why; otherwise empty.
    compared : bool
        Whether both sides have what this stage compares, for example a metric.
    """

    stage: str
    largest: float
    bound: float
    findings: int
    note: str = ""
    compared: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """The answer.

    Attributes
    ----------
    a, b : Description
        The sides.
    dtype : str
        In which both were compared: ``float64``, or ``native``, the one that they are written in.
    verdict : str
        ``equal``, ``rounding``, ``differ`` or ``undecided``.
    findings : tuple of Finding
        In the order of computation.
    acquitted : tuple of Acquittal
        The same.
    layers : tuple of LayerRow
        In the order of execution in A.
    stages : tuple of StageRow
        In the order of computation.
    seconds : float
        How long it took, without timing.
    timing : Timing or None
        Both sides' times, if they were wanted.
    uncarried : tuple of str
        The layers of B that have kept weights of their own, by their paths.
    """

    a: Description
    b: Description
    dtype: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    acquitted: tuple[Acquittal, ...]
    layers: tuple[LayerRow, ...]
    stages: tuple[StageRow, ...]
    seconds: float
    timing: Timing | None = None
    uncarried: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.verdict}, {len(self.findings)} found"]
        for finding in self.findings:
            lines.append(f"{finding.stage}: {finding.title} ({finding.cause or 'cause unknown'})")
            sides = {side: finding.about(side) for side in ("a", "b")}
            lines += [f"  {side.upper()}: {text}" for side, text in sides.items() if text]
            fixes = [side for side in ("a", "b") if finding.fix.get(side)]
            lines += [f"  fix {side.upper()}: {finding.fix[side]}" for side in fixes]
        lines += [f"not compared: {row.note}" for row in self.stages if row.note]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            "acquitted": [asdict(acquittal) for acquittal in self.acquitted],
            "layers": [asdict(row) for row in self.layers],
            "stages": [asdict(row) for row in self.stages],
            "dtype": self.dtype,
            "a": _side(self.a),
            "b": _side(self.b),
            "seconds": self.seconds,
            "timing": self.timing.to_json() if self.timing else None,
        }


def _side(description: Description) -> dict[str, str]:
    return {
        "framework": description.framework,
        "version": description.version,
        "model": description.model,
    }
