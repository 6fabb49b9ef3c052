"""The sweep's side of the processes in which Ray is: they get the cells and send events."""

from collections.abc import Generator
from typing import Any

from ...core.events import CellEnded, CellRetried, CellStarted, ClusterReady, Event
from ...core.state import State
from ..ray.client import Driver

Json = dict[str, Any]

DRIVER = "triptych.scale.sweep.driver"
EVENTS: dict[str, type[Event]] = {
    event.type: event for event in (CellEnded, CellRetried, CellStarted, ClusterReady)
}


class SweepDriver(Driver):
    """The processes of a sweep.

    Parameters
    ----------
    request : dict
        ``cells``, ``address`` and the descriptions of the data sets, as
        `triptych.scale.sweep.driver` reads them.
    arrays : dict of str to ndarray
        The data sets.
    """

    def __init__(self, request: Json, arrays: State) -> None:
        super().__init__(DRIVER, request, arrays)

    def events(self) -> Generator[Event]:
        """Yield what the driver sends, until it has sent all.

        Raises
        ------
        TriptychError
            If Ray cannot be started or reached, or has ended too early.
        """
        while True:
            values = self.receive().values
            if "end" in values:
                return
            yield EVENTS[values.pop("type")](**values)
