"""The devices that engines know, by name."""

import os
from typing import Any

from ..errors import EngineError, suggest

DEVICES = ("cpu", "cuda", "mps")
MEANT = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}  # common other names, for messages


def check_device(name: Any) -> None:
    """Raise `EngineError` for an unknown device name; the message suggests the closest one."""
    known = ("auto", *DEVICES)
    if name not in known:
        word = str(name).lower()
        raise EngineError(f"device {name!r} is unknown; {suggest(MEANT.get(word, word), known)}")


def find_device(label: str, name: str, available: dict[str, bool]) -> str:
    """Return the device to use.

    Parameters
    ----------
    label : str
        The framework's name in messages, for example ``PyTorch``.
    name : str
        A device, or ``auto`` for the first available one.
    available : dict of str to bool
        For each device that the framework supports, whether this machine has it. The fastest
        device comes first.

    Raises
    ------
    EngineError
        If the framework does not support the device, or this machine does not have it.
    """
    if name == "auto":
        return next(device for device, present in available.items() if present)
    check_device(name)
    if name not in available:
        raise EngineError(f"{label} has no {name} device; use the device cpu or auto")
    if not available[name]:
        raise EngineError(
            f"{label} sees no {name} device on this machine; use the device cpu or auto"
        )
    return name


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
