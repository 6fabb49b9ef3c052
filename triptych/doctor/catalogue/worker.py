"""The process that measures: ``python -P -m triptych.doctor.catalogue.worker``.

A process of its own is needed because frameworks have global settings, and because Keras reads the
name of its backend once.
"""

import warnings
from contextlib import suppress
from typing import Any

import numpy as np

from ...process import server
from ...process.protocol import Message
from .checks.registry import CHECKS
from .checks.support import to_numpy
from .entry import Value


class CheckWorker:
    """Answers one kind of message: an ``id``, whose check is run."""

    def answer(self, request: Message) -> Message:
        """Return the measured ``values``, or the name of a package that is ``missing``."""
        warnings.simplefilter("ignore")
        _set_seeds()
        try:
            values = CHECKS[request.values["id"]]()
        except ModuleNotFoundError as error:
            return Message({"missing": error.name}, {})
        return Message({"values": {name: plain(value) for name, value in values.items()}}, {})


def _set_seeds() -> None:
    """Let a check draw the same numbers, whichever checks ran before."""
    with suppress(ModuleNotFoundError):
        import torch

        torch.manual_seed(0)
    with suppress(ModuleNotFoundError):
        import keras

        keras.utils.set_random_seed(0)


def plain(value: Any) -> Value:
    """Return a measured value as what JSON can hold; NaN and infinities become words."""
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, list | tuple):
        return [_number(item) for item in value]
    return _number(to_numpy(value).item())


def _number(value: Any) -> Any:
    """Return a number; NaN and infinities as words."""
    return value if np.isfinite(value) else str(value)


if __name__ == "__main__":
    server.main(CheckWorker())
