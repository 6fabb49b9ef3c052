"""One difference between the frameworks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Stages of a training step, in the order of computation.
Stage = Literal[
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
]
# default: the same option has another value; formula: the same name has another formula; layout:
# the same numbers in another order; semantics: the same call means something else; numeric: only
# rounding; trap: a mistake of a user that one framework hides.
Kind = Literal["default", "formula", "layout", "semantics", "numeric", "trap"]
TENSORFLOW = "tensorflow"  # the backend of Keras, where no other one is named

Value = bool | int | float | str | list[float]  # what JSON can hold


@dataclass(frozen=True)
class Difference:
    """One difference between PyTorch and Keras.

    Attributes
    ----------
    id : str
        Its number in the catalogue, such as ``D26``.
    title : str
        What differs, in a few words.
    family : str
        The chapter of the catalogue.
    stage : str
        The part of a training step in which the two sides first differ; ``none`` if there is no
        single one.
    kind : str
        What sort of difference it is.
    torch, keras : str
        What each side does, one sentence each.
    effect : str
        How large the effect is, one sentence.
    fix_torch, fix_keras : str or None
        One line of code that makes this side agree with the other; None if there is none. Names
        are the usual ones: ``nn`` is ``torch.nn``, ``layers`` is ``keras.layers``.
    source : str
        The files of the frameworks' source code that show it, or public threads.
    words : tuple of str
        Further words for the search.
    recorded : mapping of str to value
        What its check measured with the versions of `registry.RECORDED_WITH`. A name begins with
        the framework (``torch``, ``keras``, ``tf``, ``numpy``); the rest tells what was measured.
    tolerance : float
        By how much a measured number may differ from the recorded one, as a share of the larger.
    portable : bool
        Whether the values are the same on every processor. If not, they are shown but not judged.
    jax : str or None
        What JAX or its libraries do, where that is known.
    """

    id: str
    title: str
    family: str
    stage: Stage | Literal["none"]
    kind: Kind
    torch: str
    keras: str
    effect: str
    fix_torch: str | None
    fix_keras: str | None
    source: str
    words: tuple[str, ...] = ()
    recorded: Mapping[str, Value] = field(default_factory=dict[str, Value])
    tolerance: float = 1e-4
    portable: bool = True
    jax: str | None = None

    @property
    def backends(self) -> list[str]:
        """The backends of Keras with which it is measured: those that names of values mention."""
        mentioned = [backend_in(name) for name in self.recorded]
        return list(dict.fromkeys(filter(None, mentioned))) or [TENSORFLOW]


def backend_in(name: str) -> str | None:
    """Return the backend that the name of a value mentions, as in ``keras on jax``, or None."""
    match = re.match(r"keras on (\w+)", name)
    return match[1] if match else None
