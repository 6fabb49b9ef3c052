"""The devices that engines know, by name."""

from typing import Any

from ..errors import EngineError, suggest

DEVICES = ("cpu", "cuda", "mps")
MEANT = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}  # what people type for a device, too


def check_device(name: Any) -> None:
    """Raise `EngineError` for a device that no engine knows, with the one that was probably meant."""
    known = ("auto", *DEVICES)
    if name not in known:
        word = str(name).lower()
        raise EngineError(f"device {name!r} is unknown; {suggest(MEANT.get(word, word), known)}")


def find_device(label: str, name: str, here: dict[str, bool]) -> str:
    """Return the device to use.

    Parameters
    ----------
    label : str
        What people call the framework.
    name : str
        A device, or ``auto`` for the first that is here.
    here : dict of str to bool
        Of each device that the framework knows, the fastest first, whether this machine has it.

    Raises
    ------
    EngineError
        Saying what is missing.
    """
    if name == "auto":
        return next(device for device, found in here.items() if found)
    check_device(name)
    if name not in here:
        raise EngineError(f"{label} has no {name} device; use the device cpu or auto")
    if not here[name]:
        raise EngineError(
            f"{label} sees no {name} device on this machine; use the device cpu or auto"
        )
    return name
