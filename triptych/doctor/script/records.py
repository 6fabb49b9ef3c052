"""What a recorded process writes, and what the comparison reads: one file for each step.

A file ``step-NUMBER.safetensors`` has the arrays, as sketches, by these names:

==========================  ===================================================================
name                        array
==========================  ===================================================================
given/rows                  what the model was given, a sketch for each sample
start/PARAMETER             the weights before the first step, only in its file
local/PARAMETER             the gradients of this worker's own loss, before they are averaged
unclipped/PARAMETER         the gradients that were given to the clipping, if there is one
gradient/PARAMETER          the gradients that the optimizer was given
weights/PARAMETER           the weights after the update
buffers/NAME                the buffers after the update
layer/CALL                  what a layer has returned, a sketch for each sample
norm/LAYER/mean, variance   of what a BatchNorm was given, over this worker's samples
==========================  ===================================================================

Its metadata has everything else as JSON: the fields of `StepValues`. ``facts.json`` is written when
the process ends, ``error.json`` if the script has failed.
"""

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save

from ..observation import Arrays, array_names

FACTS = "facts.json"
ERROR = "error.json"
SETTINGS = "settings.json"
OUTPUT = "output.txt"  # what the process has printed
STEP_PREFIX = "step-"
Json = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What the processes of one run of the script are told.

    Attributes
    ----------
    script : str
        The script, an absolute path.
    arguments : list of str
        Its arguments.
    folder : str
        Where the processes write.
    workers : int
        How many processes there are.
    steps : int
        After so many updates the script is ended.
    double : bool
        Whether it computes in double precision.
    moved : bool
        Whether its first weights are moved by some units in the last place.
    """

    script: str
    arguments: list[str]
    folder: str
    workers: int
    steps: int
    double: bool = False
    moved: bool = False

    def write(self) -> Path:
        """Write them into the folder; return the path."""
        path = Path(self.folder) / SETTINGS
        write(path, json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read them."""
        return cls(**json.loads(path.read_text()))

    def of_worker(self, rank: int) -> Path:
        """Return the folder of one process."""
        return Path(self.folder) / f"worker-{rank}"


@dataclass
class Evaluation:
    """What was evaluated between two updates.

    Attributes
    ----------
    samples : list of str
        The digest of each sample.
    indices : list of int or None
        Their numbers in the data set, if a DataLoader has fetched them.
    sums : list of dict
        Arrays of few numbers that were added over the workers: ``before``, ``after``, and how many
        ``samples`` this worker had evaluated then.
    """

    samples: list[str] = field(default_factory=list[str])
    indices: list[int] | None = field(default_factory=list[int])
    sums: list[Json] = field(default_factory=list[Json])


@dataclass
class StepValues:
    """What one process has recorded of one step, besides arrays.

    Attributes
    ----------
    samples : list of str
        The digest of each sample, as the model was given it.
    indices : list of int or None
        Their numbers in the data set, if a DataLoader has fetched them.
    losses : list of tuple
        Each number whose gradients were computed, with the number of its samples.
    rates : list of float
        The learning rate of each group of parameters.
    options : list of dict
        The other settings of each group, and the name of the optimizer.
    weights, gradients : str
        Digests of all bits.
    layers : list of list of str
        The name of each call of a layer with the type of the layer, in order.
    shapes : dict of str to list of int
        The shape of each parameter and buffer.
    entries : int
        Of each sketch.
    unit : float
        The unit roundoff of the weights.
    clip : dict or None
        ``kind``, ``limit`` and the ``norm`` that was found, of a clipping.
    synchronised : int
        Of how many backward passes DDP has averaged the gradients.
    evaluations : list of Evaluation
        What was evaluated after the update before.
    masks : str or None
        The state of the random numbers when the first dropout mask would have been drawn.
    """

    samples: list[str] = field(default_factory=list[str])
    indices: list[int] | None = field(default_factory=list[int])
    losses: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    rates: list[float] = field(default_factory=list[float])
    options: list[Json] = field(default_factory=list[Json])
    weights: str = ""
    gradients: str = ""
    layers: list[list[str]] = field(default_factory=list[list[str]])
    shapes: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    entries: int = 0
    unit: float = 0.0
    clip: Json | None = None
    synchronised: int = 0
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])
    masks: str | None = None

    @classmethod
    def from_json(cls, values: Json) -> "StepValues":
        """Return what `dataclasses.asdict` has made JSON of."""
        values["evaluations"] = [Evaluation(**each) for each in values["evaluations"]]
        return cls(**values)


def write(path: Path, content: bytes | str) -> None:
    """Write a file that is whole as soon as it has its name.

    It need not survive a failure of power, so that nothing waits for the disk.
    """
    part = path.with_suffix(".part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(part, path)


def write_step(folder: Path, number: int, values: StepValues, arrays: Arrays) -> None:
    """Write the file of one step."""
    metadata = {"values": json.dumps(asdict(values))}
    content = save(arrays, metadata=metadata)
    write(folder / f"{STEP_PREFIX}{number:06d}.safetensors", content)


@dataclass(frozen=True)
class RankStep:
    """One step of one process.

    Attributes
    ----------
    values : StepValues
        Everything besides arrays.
    arrays : dict of str to ndarray
        See the top of this file.
    """

    values: StepValues
    arrays: Arrays

    def of(self, kind: str) -> Arrays:
        """Return the arrays of a kind by their names."""
        return array_names(self.arrays, kind)

    @cached_property
    def counted(self) -> "Counter[str]":
        """How often each sample was seen."""
        return Counter(self.values.samples)

    @property
    def weight(self) -> int:
        """How many samples the gradients belong to."""
        return sum(samples for _, samples in self.values.losses)


def read_values(path: Path) -> StepValues:
    """Read what the file of a step has besides arrays."""
    with safe_open(path, "numpy") as file:
        return StepValues.from_json(json.loads(file.metadata()["values"]))


def read_step(path: Path) -> RankStep:
    """Read the file of one step."""
    with safe_open(path, "numpy") as file:
        values = StepValues.from_json(json.loads(file.metadata()["values"]))
        return RankStep(values, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


@dataclass(frozen=True)
class Run:
    """What the script has done with a number of workers.

    Attributes
    ----------
    settings : Settings
        How it was run.
    facts : list of dict
        What each process has told at its end.
    """

    settings: Settings
    facts: list[Json]

    @property
    def workers(self) -> int:
        """How many processes there were."""
        return self.settings.workers

    @cached_property
    def _paths(self) -> list[list[Path]]:
        folders = [self.settings.of_worker(rank) for rank in range(self.workers)]
        return [sorted(folder.glob(f"{STEP_PREFIX}*.safetensors")) for folder in folders]

    @property
    def counts(self) -> list[int]:
        """How many steps each process has made."""
        return [len(paths) for paths in self._paths]

    @property
    def steps(self) -> int:
        """How many steps all processes have made."""
        return min(self.counts)

    def step(self, number: int) -> list[RankStep]:
        """Return a step of all processes, by rank."""
        return [read_step(paths[number]) for paths in self._paths]

    def values(self, number: int) -> list[StepValues]:
        """Return a step of all processes without its arrays, by rank."""
        return [read_values(paths[number]) for paths in self._paths]

    def evaluations(self, number: int, rank: int) -> list[Evaluation]:
        """Return what a process has evaluated after the update before a step."""
        return read_values(self._paths[rank][number]).evaluations

    def evaluations_at_end(self) -> list[list[Evaluation]]:
        """Return what each process has evaluated after its last step."""
        return [[Evaluation(**each) for each in facts["evaluations"]] for facts in self.facts]
