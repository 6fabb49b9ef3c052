"""What a changed preprocessing makes of the model's inputs; the same for every framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..observation import Array, Arrays, Change, Settings
from .adapter import Unsupported

SETTINGS = ("scale", "offset", "reverse_channels")


@dataclass(frozen=True)
class InputChanges:
    """The changes of the preprocessing that are in force.

    Attributes
    ----------
    settings : dict of str to dict
        Settings by the number of the input, or by the empty name for all.
    """

    settings: Mapping[str, Settings] = field(default_factory=dict[str, Settings])

    def with_change(self, change: Change) -> "InputChanges":
        """Return these changes and another one.

        Parameters
        ----------
        change : Change
            Of the preprocessing.

        Raises
        ------
        Unsupported
            If there is no such setting.
        """
        if change.setting not in SETTINGS:
            raise Unsupported(f"{change.setting} of the preprocessing cannot be changed")
        changed = {**self.settings.get(change.path, {}), change.setting: change.value}
        return InputChanges({**self.settings, change.path: changed})

    def applied(self, inputs: Arrays) -> Arrays:
        """Return what the model gets after the changes.

        Parameters
        ----------
        inputs : dict of str to ndarray
            ``input``, ``input1``, …: what the user's preprocessing returned.
        """
        changed: Arrays = {}
        for number, (name, array) in enumerate(inputs.items()):
            for key in ("", str(number)):
                array = changed_input(array, self.settings.get(key, {}))
            changed[name] = array
        return changed


def changed_input(array: Array, settings: Settings) -> Array:
    """Return one input after changes.

    Parameters
    ----------
    array : ndarray
        Channels are its last axis, or its first after the batch if that has as many entries as
        there are numbers.
    settings : dict
        ``scale``, ``offset`` and ``reverse_channels``, in this order.
    """
    dtype = array.dtype
    for name in ("scale", "offset"):
        if name not in settings:
            continue
        value = np.asarray(settings[name])
        if value.ndim and array.shape[-1] != value.size:
            value = value.reshape(-1, *(1,) * (array.ndim - 2))
        array = array * value if name == "scale" else array + value
    if settings.get("reverse_channels"):
        axis = 1 if array.shape[1] in (3, 4) and array.shape[-1] not in (3, 4) else -1
        array = np.flip(array, axis)
    return array.astype(dtype) if np.issubdtype(dtype, np.floating) else array
