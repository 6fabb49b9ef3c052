"""The command's side of several workers that train one network: together they are one engine."""

from importlib.util import find_spec
from typing import Any

from ...core.events import ClusterReady
from ...core.state import State
from ...data.streaming.packing import pack_stream
from ...data.streaming.split import StreamedSplit
from ...errors import EngineError, TriptychError
from ...process.client import EngineHost, RemoteEngine, checked
from ...process.protocol import Message
from ...spec.network import Network
from ...spec.recipe import Recipe
from ...training.session import Settings
from ..messages import NEEDS_TORCH
from ..ray.client import Driver, check_installed

DRIVER = "triptych.scale.training.driver"
NEEDED = ("ray", "pandas")  # Ray Train imports pandas
KEY = "trained"  # the name of the engine in every worker


class WorkersLost(TriptychError):
    """A worker has ended, and with it the engines of all; others are being started."""


class RayEnded(TriptychError):
    """Ray has ended, and with it all workers; no others are started."""


class WorkersEngine(RemoteEngine):
    """The engines of all workers, which read streamed data themselves.

    Parameters
    ----------
    built : RemoteEngine
        What was built in every worker.
    network : Network
        The network that it trains.
    recipe : Recipe
        How it trains.
    """

    def __init__(self, built: RemoteEngine, network: Network, recipe: Recipe) -> None:
        super().__init__(built.remote, built.key, built.device, built.build_s)
        self._described = {"network": network.to_json(), "recipe": recipe.to_json()}

    def stream(self, split: StreamedSplit, step: int | None) -> str:
        """Let the workers read a split; return its name there.

        Parameters
        ----------
        split : StreamedSplit
            Its files must be at the same path on every node.
        step : int or None
            The first training step whose samples are read; None for a split that is evaluated.
        """
        packed, arrays = pack_stream(split)
        name = split.digest
        values = {"packed": packed, "step": step, **self._described}
        self.remote.ask("stream", arrays, key=self.key, name=name, **values)
        return name


class TrainingWorkers(EngineHost):
    """Workers that Ray Train starts, and starts again when one of them ends.

    It is an `triptych.training.session.EngineSource`.

    Parameters
    ----------
    settings : Settings
        Engine, threads and number of workers.
    address : str or None
        The address of a cluster of Ray; None starts Ray on this machine.
    stored_bytes : int
        The size of the data.

    Raises
    ------
    TriptychError
        If something is not installed, or Ray cannot be started or reached.
    """

    def __init__(self, settings: Settings, address: str | None, stored_bytes: int) -> None:
        super().__init__(settings.engine, settings.backend, settings.device)
        check_installed("a training with several workers", NEEDED)
        if settings.workers > 1 and find_spec("torch") is None:
            raise EngineError(NEEDS_TORCH)
        self._address = address
        self._cpu_seconds = 0.0
        request = {
            "address": address,
            "engine": settings.engine,
            "workers": settings.workers,
            "native": settings.native,
            "threads": settings.threads,
            "bytes": stored_bytes,
        }
        self._driver = Driver(DRIVER, request)
        try:
            values = self._driver.receive().values
            values.pop("type")
            self.cluster = ClusterReady(**values)
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, arrays: State | None = None, **values: Any) -> Message:
        """Send a request to all workers and wait for the answer of the first one.

        Raises
        ------
        WorkersLost
            If a worker has ended. The next request is for those that are started instead.
        EngineError, RowFailed
            If a worker reports a failure.
        RayEnded
            If Ray has ended, or its cluster.
        """
        self._driver.send({"do": do} | values, arrays)
        try:
            message = self._driver.receive()
        except TriptychError as error:
            if self._address is None:
                raise RayEnded(str(error)) from None
            raise RayEnded(
                f"the cluster at {self._address} has ended, or cannot be reached any more"
            ) from None
        if "lost" in message.values:
            raise WorkersLost(message.values["lost"])
        reply = checked(Message(message.values["reply"], message.arrays))
        self._cpu_seconds += reply.values.get("cpu_s", 0.0)
        return reply

    def create(self, settings: Settings, network: Network, recipe: Recipe) -> "WorkersEngine":
        """Build an engine in every worker; return what they are together."""
        del settings  # those of this object
        self._splits.clear()  # the workers may be others than before
        built = self.build(KEY, network, recipe)
        return WorkersEngine(built, network, recipe)

    def cpu_seconds(self) -> float:
        """Return the processor time of all steps so far, of all workers, in seconds."""
        return self._cpu_seconds

    def stop(self) -> None:
        """End everything at once; a signal handler may call it. `close` must still be called."""
        self._driver.stop()

    def close(self) -> None:
        """End all processes, and wait until none is left."""
        self._driver.close()
