"""Tables of the classes that files and options name: layers, optimizers, losses and others.

The classes of this package register themselves when their modules are imported. Those of other
packages are loaded before the first look-up; see `triptych.plugins`.
"""

from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar

from .. import plugins
from ..errors import SpecError, suggest

T = TypeVar("T")


class UnknownName(SpecError):
    """A name that no class is registered for.

    Parameters
    ----------
    message : object
        As of every `TriptychError`.
    named : str
        What has the name, and the name: ``optimizer 'adm'``.
    """

    def __init__(self, message: object, named: str = "") -> None:
        super().__init__(message)
        self.named = named


class Registry(MutableMapping[str, T]):
    """Classes by name, in the order in which they were registered.

    An entry is a class, or a tuple whose first element is a class. A name that belongs to another
    class raises `SpecError`. The same class may be registered again: in a notebook, a cell that
    defines it may run twice.
    """

    def __init__(self) -> None:
        self._entries: dict[str, T] = plugins.watch({})

    def find(self, what: str, name: Any) -> T:
        """Return the entry of a name that a file or an option contains.

        Parameters
        ----------
        what : str
            What messages call an entry, for example ``optimizer``.
        name : object
            A text, if the file is right.

        Raises
        ------
        UnknownName
            If there is no such entry; the message suggests the closest name.
        """
        if not isinstance(name, str) or name not in self:
            named = f"{what} {name!r}"
            raise UnknownName(f"{named} is unknown; {suggest(name, self)}", named)
        return self[name]

    def registered(self) -> list[T]:
        """Return the entries so far. It does not load plug-ins: it is for what registers."""
        return list(self._entries.values())

    def __setitem__(self, name: str, entry: T) -> None:
        if name in self._entries:
            known = _place(self._entries[name])
            if known != _place(entry):
                raise SpecError(f"{name!r} is the name of {known} already; choose another one")
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        plugins.load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        plugins.load()
        return iter(self._entries)

    def __len__(self) -> int:
        plugins.load()
        return len(self._entries)


def _place(entry: Any) -> str:
    """Return where the class of an entry is defined, for example ``softer.specs.ChannelGain``."""
    cls = entry[0] if isinstance(entry, tuple) else entry
    return f"{cls.__module__}.{cls.__qualname__}"
