"""What the functions of the Python API return."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .core import registry
from .core.events import (
    CaseStarted,
    Event,
    RoundingJudged,
    RowCompared,
    RowFailed,
    RowMissing,
    ScriptCompared,
    ScriptFailed,
    WorkersCompared,
    WorkersRefused,
)
from .core.state import State
from .errors import counted
from .spec.network import Network
from .spec.recipe import Recipe

if TYPE_CHECKING:
    from .scale.sweep.summary import Configuration

Json = dict[str, Any]


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """A trained network, and how it was trained.

    Attributes
    ----------
    engine : str
        The engine that trained it last.
    network : Network
        What was trained.
    recipe : Recipe
        How it was trained.
    state : dict of str to ndarray
        Weights, buffers and optimizer slots, in the canonical layout.
    history : list of dict
        For each epoch ``epoch``, ``step``, ``loss``, ``rate``, ``seconds``, and ``validation_loss``
        and ``validation_accuracy`` if the recipe sets data aside.
    folder : Path or None
        The run folder.
    details : dict or None
        What results.json holds (docs/results.md); None if the training was interrupted.
    provenance : dict
        ``data``, which describes the data; its ``source`` and ``reading``, to load it again.
    """

    engine: str
    network: Network
    recipe: Recipe
    state: State
    history: list[Json]
    folder: Path | None
    details: Json | None
    provenance: Json

    @property
    def accuracy(self) -> float | None:
        """The share of test samples that are classified correctly; None if it was interrupted."""
        return self.details["accuracy"]["value"] if self.details else None

    def __repr__(self) -> str:
        label = registry.entry(self.engine).label
        epochs = counted(len(self.history), "epoch")
        if self.accuracy is None:
            outcome = f"interrupted after {epochs}"
        else:
            outcome = f"test accuracy {self.accuracy:.2%} after {epochs}"
        return f"<{self.network.name} in {label}: {outcome}>"


@dataclass(frozen=True, repr=False)
class ComparisonResult:
    """The same training in several engines. In Jupyter it shows itself as a table and charts.

    Attributes
    ----------
    network : Network
        What was trained.
    recipe : Recipe
        How it was trained, with the first seed.
    seeds : list of dict
        The result of each seed, as in ``runs`` of results.json (docs/results.md).
    folder : Path or None
        The run folder; it holds report.html if the packages for it are installed.
    events : list of dict
        The blocks and evaluations of the first seed, from which the charts are drawn.
    note : str or None
        Which package is missing to draw a report.
    """

    network: Network
    recipe: Recipe
    seeds: list[Json]
    folder: Path | None
    events: list[Json] = field(default_factory=list[Json])
    note: str | None = None

    @property
    def rows(self) -> dict[str, Json]:
        """The rows of the first seed by key: engine, or engine and backend."""
        return self.seeds[0]["rows"]

    @property
    def equal(self) -> bool:
        """Whether at least two rows ran, and all that ran are proved equal, with every seed.

        A row that is less precise counts as equal if its backend announces that.
        """
        return all(self._is_equal(seed["rows"]) for seed in self.seeds)

    @staticmethod
    def _is_equal(rows: Mapping[str, Json]) -> bool:
        ran = [row for row in rows.values() if not row["failed"]]
        return len(ran) > 1 and all(row["proved"] or row["as_announced"] for row in ran)

    @property
    def accuracy(self) -> dict[str, float]:
        """Test accuracy of each row that ran, with the first seed."""
        ran = {key: row for key, row in self.rows.items() if row["accuracy"]}
        return {key: row["accuracy"]["value"] for key, row in ran.items()}

    @property
    def fastest(self) -> str | None:
        """The row that is significantly faster than all others, with the first seed; or None."""
        return self.seeds[0]["fastest"]

    def __repr__(self) -> str:
        verdict = "equal" if self.equal else "not proved equal"
        labels = ", ".join(row["label"] for row in self.rows.values() if not row["failed"])
        return f"<{self.network.name} in {labels}: {verdict}>"

    def _repr_html_(self) -> str:
        from .report.notebook import comparison_html

        return comparison_html(self.seeds[0], self.events, self.recipe.dtype)


@dataclass(frozen=True, repr=False)
class VerificationResult:
    """The proof, step by step, for several networks, recipes and engines.

    In Jupyter it shows itself as a table.

    Attributes
    ----------
    compared : list of RowCompared
        Each row of each case that was compared with NumPy in float64.
    verdicts : list of RoundingJudged
        The float32 verdicts, for recipes in float32.
    failed : list of RowFailed or RowMissing
        Rows that could not be compared, and why.
    cases : list of str
        The network and the optimizer of each entry of `compared`.
    """

    compared: list[RowCompared]
    verdicts: list[RoundingJudged]
    failed: list[RowFailed | RowMissing]
    cases: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, happened: Iterable[Event]) -> "VerificationResult":
        """Return what the events of a verification tell."""
        result = cls([], [], [])
        case = ""
        for event in happened:
            if isinstance(event, CaseStarted):
                case = f"{event.network} {event.optimizer}"
            elif isinstance(event, RowCompared):
                result.compared.append(event)
                result.cases.append(case)
            elif isinstance(event, RoundingJudged):
                result.verdicts.append(event)
            elif isinstance(event, RowFailed | RowMissing):
                result.failed.append(event)
        return result

    @property
    def equal(self) -> bool:
        """Whether something was compared, nothing failed on the way, and no row differs.

        A row differs if it does so in float64, or if its float32 verdict is not ``rounding``. As in
        a comparison, the verdict ``precision`` is accepted of a backend that announces a lower
        precision, such as PyTorch's bf16.
        """
        broken = any(isinstance(event, RowFailed) for event in self.failed)
        rounded = all(event.accepted for event in self.verdicts)
        same = all(event.equal for event in self.compared)
        return bool(self.compared) and not broken and rounded and same

    @property
    def largest(self) -> float:
        """The largest difference of any kind at any step, relative to its kind."""
        figures = [max(event.largest, event.block_worst) for event in self.compared]
        return max(figures, default=0.0)

    @property
    def divergences(self) -> list[str]:
        """A sentence for each row that differs: where it first differed."""
        sentences = [event.divergence or event.block_divergence for event in self.compared]
        return [sentence for sentence in sentences if sentence]

    def __repr__(self) -> str:
        verdict = "equal" if self.equal else "not proved equal"
        rows = ", ".join(dict.fromkeys(event.row for event in self.compared))
        proofs = counted(len(self.compared), "proof")
        if not self.compared:
            return "<nothing was compared>"
        return f"<{proofs} of {rows}: {verdict}, differences up to {self.largest:.0e}>"

    def _repr_html_(self) -> str:
        from .report.notebook import verification_html

        return verification_html(repr(self)[1:-1], zip(self.cases, self.compared, strict=True))


@dataclass(frozen=True, repr=False)
class WorkersResult:
    """The proof that several workers compute what one process does.

    Attributes
    ----------
    compared : list of WorkersCompared
        Each engine, number of workers, network and recipe that was compared.
    refused : list of WorkersRefused
        Networks whose steps an engine cannot divide.
    failed : list of RowFailed or RowMissing
        Rows that could not be compared, and why.
    """

    compared: list[WorkersCompared]
    refused: list[WorkersRefused]
    failed: list[RowFailed | RowMissing]

    @classmethod
    def of(cls, happened: Iterable[Event]) -> "WorkersResult":
        """Return what the events of a verification tell."""
        result = cls([], [], [])
        for event in happened:
            if isinstance(event, WorkersCompared):
                result.compared.append(event)
            elif isinstance(event, WorkersRefused):
                result.refused.append(event)
            elif isinstance(event, RowFailed | RowMissing):
                result.failed.append(event)
        return result

    @property
    def equal(self) -> bool:
        """Whether something was compared, nothing failed on the way, and nothing differs."""
        broken = any(isinstance(event, RowFailed) for event in self.failed)
        return bool(self.compared) and not broken and all(event.equal for event in self.compared)

    @property
    def largest(self) -> float:
        """The largest difference of any kind at any step, relative to its kind."""
        return max((event.largest for event in self.compared), default=0.0)

    @property
    def causes(self) -> list[str]:
        """The names of the mistakes that were found, without repetition."""
        names = [cause["name"] for event in self.compared for cause in event.causes]
        return list(dict.fromkeys(names))

    def __repr__(self) -> str:
        if not self.compared:
            return "<nothing was compared>"
        verdict = "equal" if self.equal else "not proved equal"
        counts = dict.fromkeys(event.workers for event in self.compared)
        workers = f"{', '.join(map(str, counts))} workers"
        certificates = counted(len(self.compared), "certificate")
        return f"<{certificates} of {workers}: {verdict}, differences up to {self.largest:.0e}>"


@dataclass(frozen=True, repr=False)
class ScriptResult:
    """Whether a user's script computes with several workers what it computes with one.

    Attributes
    ----------
    compared : list of ScriptCompared
        Each number of workers that was compared.
    failed : list of ScriptFailed
        Those that were not, and why.
    """

    compared: list[ScriptCompared]
    failed: list[ScriptFailed]

    @classmethod
    def of(cls, happened: Iterable[Event]) -> "ScriptResult":
        """Return what the events of a verification tell."""
        result = cls([], [])
        for event in happened:
            if isinstance(event, ScriptCompared):
                result.compared.append(event)
            elif isinstance(event, ScriptFailed):
                result.failed.append(event)
        return result

    @property
    def equal(self) -> bool:
        """Whether everything was compared, and nothing differs."""
        return bool(self.compared) and not self.failed and all(each.equal for each in self.compared)

    @property
    def findings(self) -> list[Json]:
        """Each difference: ``stage``, ``step``, ``what``, ``cause``, …; see `ScriptCompared`."""
        return [finding for event in self.compared for finding in event.findings]

    @property
    def causes(self) -> list[str]:
        """The names of the mistakes that were found, without repetition."""
        names = [finding["cause"] for finding in self.findings if finding["cause"]]
        return list(dict.fromkeys(names))

    def __repr__(self) -> str:
        verdicts = [f"{counted(each.workers, 'worker')} {each.verdict}" for each in self.compared]
        verdicts += [f"{counted(each.workers, 'worker')} failed" for each in self.failed]
        return f"<{', '.join(verdicts) or 'nothing was compared'}>"


@dataclass(frozen=True, repr=False)
class SweepResult:
    """What came of a grid of trainings.

    Attributes
    ----------
    cells : list of dict
        A row of ``cells.parquet`` each: the cells that have ended, in the order of the grid.
    planned : int
        How many cells the grid has.
    folder : Path
        It holds ``cells.parquet``, ``events.jsonl`` and ``report.html``.
    note : str or None
        Which package is missing to draw the page.
    """

    cells: list[Json]
    planned: int
    folder: Path
    note: str | None = None

    @property
    def finished(self) -> list[Json]:
        """The cells that are finished."""
        return [cell for cell in self.cells if cell["status"] == "finished"]

    @property
    def failed(self) -> list[Json]:
        """The cells that have failed; ``error`` is the reason of each."""
        return [cell for cell in self.cells if cell["status"] != "finished"]

    @property
    def complete(self) -> bool:
        """Whether every cell of the grid is finished."""
        return len(self.finished) == self.planned

    def configurations(self) -> "list[Configuration]":
        """Return what each engine, data set, network and recipe came to over its seeds."""
        from .scale.sweep.summary import configurations

        return configurations(self.cells)

    def __repr__(self) -> str:
        done = f"{len(self.finished)} of {counted(self.planned, 'cell')} finished"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<sweep: {done}{failed}, in {self.folder}>"


@dataclass(frozen=True)
class Prediction:
    """What a network predicts.

    Attributes
    ----------
    classes : ndarray of int32, shape (n,)
        The class with the largest probability.
    probabilities : ndarray of floats, shape (n, classes)
        They sum to 1 in each row.
    """

    classes: NDArray[np.int32]
    probabilities: NDArray[Any]
