"""The ASGI application: routes, and what holds for every request."""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from math import inf
from os import cpu_count
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from . import open_inference, tensorflow_serving
from .errors import RequestError
from .gate import RETRY, Gate, error_response, json_response
from .metrics import Metrics
from .models import ModelRepository, ServedModel
from .openapi import describe
from .page import asset
from .protocol import STOP
from .settings import ServerSettings

Result = TypeVar("Result")

SECONDS_TO_ANSWER = 7  # from the beginning of the server's end
SECONDS_BETWEEN_LOOKS = 1.0  # at the files of the runs
# Python's own 5 ms would let one thread that reads JSON hold up all connections.
SECONDS_BETWEEN_THREADS = 0.0005


class ModelName(StringConvertor):
    """The name of a model in a path, without the colon of ``NAME:predict``."""

    regex = "[^/:]+"


register_url_convertor("model", ModelName())


class Service:
    """The endpoints.

    Parameters
    ----------
    settings : ServerSettings
        Limits and models.
    models : ModelRepository
        What is served.
    metrics : Metrics
        Counts requests.
    """

    def __init__(self, settings: ServerSettings, models: ModelRepository, metrics: Metrics) -> None:
        self.limits = settings.limits
        self.needs_token = settings.token is not None
        self.models = models
        self.metrics = metrics
        self._threads = ThreadPoolExecutor(cpu_count() or 1, "predict")
        self._deadlines: set[asyncio.Timeout] = set()
        self._end = inf  # when requests must be answered, on the clock of the event loop

    def routes(self) -> list[Route]:
        """Return what is served at which path."""
        tensorflow = "/v1/models/{name:model}"
        version = "/versions/{version:model}"
        inference = "/v2/models/{name:model}"
        routes = [
            Route("/", self.show_page),
            Route("/assets/{name}", self.show_asset),
            Route("/openapi.json", self.show_openapi),
            Route("/metrics", self.show_metrics),
            Route("/v1/models", self.list_models),
            Route("/v2", self.show_server),
            Route("/v2/health/live", self.show_live),
            Route("/v2/health/ready", self.show_ready),
        ]
        for path in (tensorflow, tensorflow + version):
            routes += [
                Route(path, self.show_status),
                Route(path + "/metadata", self.show_signatures),
                Route(path + ":predict", self.predict, methods=["POST"]),
            ]
        for path in (inference, inference + version):
            routes += [
                Route(path, self.show_tensors),
                Route(path + "/ready", self.show_model_ready),
                Route(path + "/infer", self.infer, methods=["POST"]),
            ]
        return routes

    async def show_page(self, request: Request) -> Response:
        """Show the models, and a digit to draw."""
        del request
        return asset("index.html")

    async def show_asset(self, request: Request) -> Response:
        """Return a file of the page."""
        return asset(request.path_params["name"])

    async def show_openapi(self, request: Request) -> Response:
        """Describe all addresses; the shapes of images are those of now."""
        del request
        return json_response(describe(self.models, needs_token=self.needs_token))

    async def show_metrics(self, request: Request) -> Response:
        """Answer Prometheus."""
        del request
        return Response(self.metrics.render(), media_type=self.metrics.content_type)

    async def list_models(self, request: Request) -> Response:
        """List all models with their versions; not a part of TensorFlow Serving's protocol."""
        del request
        models = [
            {"name": name, "versions": [model.describe() for model in versions]}
            for name, versions in self.models.models.items()
        ]
        return json_response({"models": models})

    async def show_server(self, request: Request) -> Response:
        """Describe the server."""
        del request
        return json_response(open_inference.server_metadata())

    async def show_live(self, request: Request) -> Response:
        """Tell that the server answers."""
        del request
        return json_response({"live": True})

    async def show_ready(self, request: Request) -> Response:
        """Tell that all models can be asked; they are loaded before the first request."""
        del request
        return json_response({"ready": True})

    async def show_status(self, request: Request) -> Response:
        """Show the status of all versions of a model, or of one."""
        if "version" in request.path_params:
            return json_response(tensorflow_serving.status([self._model(request)]))
        versions = self.models.versions(request.path_params["name"])
        return json_response(tensorflow_serving.status(versions))

    async def show_signatures(self, request: Request) -> Response:
        """Describe a model to a client of TensorFlow Serving."""
        return json_response(tensorflow_serving.metadata(self._model(request)))

    async def predict(self, request: Request) -> Response:
        """Classify images for a client of TensorFlow Serving."""
        model = self._model(request)
        body = await self._read_body(request)

        def answer() -> bytes:
            return json.dumps(tensorflow_serving.predict(model, body, self.limits.batch)).encode()

        content = await self._compute(model, answer)
        return Response(content, media_type="application/json")

    async def show_tensors(self, request: Request) -> Response:
        """Describe a model to a client of the Open Inference Protocol."""
        model = self._model(request)
        versions = len(self.models.versions(model.name))
        return json_response(open_inference.metadata(model, versions))

    async def show_model_ready(self, request: Request) -> Response:
        """Tell that a model can be asked."""
        return json_response({"name": self._model(request).name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Classify images for a client of the Open Inference Protocol."""
        model = self._model(request)
        json_bytes = request.headers.get(open_inference.HEADER_LENGTH)
        body = await self._read_body(request)

        def answer() -> open_inference.Answer:
            return open_inference.infer(model, body, json_bytes, self.limits.batch)

        result = await self._compute(model, answer)
        if result.json_bytes is None:
            return Response(result.content, media_type="application/json")
        return Response(
            result.content,
            media_type="application/octet-stream",
            headers={open_inference.HEADER_LENGTH: str(result.json_bytes)},
        )

    def _model(self, request: Request) -> ServedModel:
        """Return the model of the path."""
        parameters = request.path_params
        return self.models.find(parameters["name"], parameters.get("version"))

    async def _read_body(self, request: Request) -> bytes:
        """Return the body of a request; raise `RequestError` if it is too long or too slow."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RequestError(415, "a compressed body is not supported; send it as it is")
        most = self.limits.body_bytes
        too_long = RequestError(413, f"the body is longer than the limit of {most:,} bytes")
        declared = request.headers.get("content-length", "0")
        if not declared.isdigit() or len(declared) > 18 or int(declared) > most:
            raise too_long
        parts: list[bytes] = []
        size = 0
        late = RequestError(408, f"the request did not arrive within {self.limits.seconds:g} s")
        try:
            async with self._limited(late):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise too_long
                    parts.append(part)
        except ClientDisconnect:
            raise RequestError(400, "the connection was closed within the request") from None
        return b"".join(parts)

    async def _compute(self, model: ServedModel, answer: Callable[[], Result]) -> Result:
        """Compute an answer in a thread, so that the other requests are served meanwhile."""
        seconds = f"{self.limits.seconds:g} s"
        late = RequestError(504, f"the answer was not computed within {seconds}; send fewer images")
        async with self._limited(late):
            result = await asyncio.get_running_loop().run_in_executor(self._threads, answer)
        self.metrics.predictions.labels(model.name, str(model.version)).inc()
        return result

    @asynccontextmanager
    async def _limited(self, late: RequestError) -> AsyncGenerator[None]:
        """Limit the time of a part of a request; raise `late` when it is over.

        When the server stops, less time is left, and the error is one of 503.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(
                min(loop.time() + self.limits.seconds, self._end)
            ) as deadline:
                self._deadlines.add(deadline)
                try:
                    yield
                finally:
                    self._deadlines.discard(deadline)
        except TimeoutError:
            if loop.time() < self._end:
                raise late from None
            raise RequestError(
                503, "the server is stopping; send the request again", RETRY
            ) from None

    def stop(self) -> None:
        """Answer the requests in flight soon, because the server stops; may be called again."""
        if self._end < inf:
            return
        self._end = asyncio.get_running_loop().time() + SECONDS_TO_ANSWER
        for deadline in self._deadlines:
            deadline.reschedule(min(deadline.when() or inf, self._end))

    def close(self) -> None:
        """Compute nothing more; what is being computed is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def watch_files(self) -> None:
        """Load models again whose files have changed, until the task is cancelled."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            for model in self.models.every_version:
                if await asyncio.to_thread(model.reload):
                    self._report_reload(model)
                    gc.freeze()

    def _report_reload(self, model: ServedModel) -> None:
        """Count a change of a model, and print what came of it."""
        outcome = "refused" if model.problem else "loaded"
        self.metrics.reloads.labels(model.name, str(model.version), outcome).inc()
        what = f"{model.name} version {model.version}"
        if model.problem:
            line = f"{what}: its files have changed, but cannot be used: {model.problem}"
        else:
            line = f"{what}: loaded again, {model.loaded.network.sha256[:12]}…"
        print(f"triptych: {line}", file=sys.stderr, flush=True)


def create_app(
    settings: ServerSettings, models: ModelRepository, on_end: Callable[[], None]
) -> Starlette:
    """Return the application.

    It has the state ``stop``, a function: `HttpProtocol` calls it when the server begins to stop.

    Parameters
    ----------
    settings : ServerSettings
        Limits and token.
    models : ModelRepository
        What is served.
    on_end : callable
        Called when all requests are answered, after the server was stopped.
    """
    metrics = Metrics()
    service = Service(settings, models, metrics)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        del app
        sys.setswitchinterval(SECONDS_BETWEEN_THREADS)
        _freeze_objects()
        watching = asyncio.create_task(service.watch_files())
        yield {STOP: service.stop}
        watching.cancel()
        service.close()
        on_end()

    return Starlette(
        routes=service.routes(),
        middleware=[Middleware(Gate, settings=settings, metrics=metrics)],
        exception_handlers={
            RequestError: _handle_refusal,
            HTTPException: _handle_missing_route,
            Exception: _handle_failure,
        },
        lifespan=lifespan,
    )


def _freeze_objects() -> None:
    """Exempt all objects of now from garbage collection.

    An image in JSON is a thousand lists, so that the collector runs for every request. Looking
    through all modules each time took most of the time of a request.
    """
    gc.collect()
    gc.freeze()


async def _handle_refusal(request: Request, error: Any) -> Response:
    """Answer a request that an endpoint has refused."""
    del request
    return error_response(error)


async def _handle_missing_route(request: Request, error: Any) -> Response:
    """Answer a request to an address, or with a method, that no endpoint has."""
    path = request.url.path
    message = {
        404: f"there is nothing at {path}; GET /v1/models lists the models",
        405: f"{request.method} is not possible at {path}",
    }.get(error.status_code, str(error.detail))
    return error_response(RequestError(error.status_code, message, dict(error.headers or {})))


async def _handle_failure(request: Request, error: Exception) -> Response:
    """Answer a request at which the server itself has failed; the log has the details."""
    del request, error
    return error_response(RequestError(500, "the server has failed; its log has the details"))
