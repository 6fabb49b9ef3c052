"""What holds for every request: access token, concurrency, and being counted."""

import asyncio
import hmac
import json
import time
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import RequestError
from .metrics import Metrics
from .settings import MIB, ServerSettings

# Health is asked by programs that start and stop servers. The page holds nothing itself: it asks
# for the token.
OPEN_PATHS = frozenset({"/", "/v2/health/live", "/v2/health/ready"})
OPEN_FOLDER = "/assets/"
PROTOCOLS = {"v1": "tensorflow-serving", "v2": "open-inference"}
RETRY = {"Retry-After": "1"}  # seconds
MOST_DISCARDED_BYTES = 64 * MIB  # of a request that is refused
SECONDS_TO_DISCARD = 0.2  # in which the next part of such a request must come


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response with a JSON body of one line."""
    body = json.dumps(content).encode()
    return Response(body, status, headers, media_type="application/json")


def error_response(error: RequestError) -> Response:
    """Return the response of a request that is refused."""
    return json_response({"error": str(error)}, error.status, error.headers)


class RequestBody:
    """The body of a request, of which the application may have read a part.

    Parameters
    ----------
    scope : dict
        The request.
    receive : callable
        Returns the next part.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        # Such a client sends its body only after it was told to, which reading it does.
        self._complete = any(name == b"expect" for name, _ in scope["headers"])

    async def receive(self) -> Message:
        """Return the next part."""
        message = await self._receive()
        self._complete = not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read the rest: a client whose connection ends before gets no answer, but a reset."""
        size = 0
        with suppress(TimeoutError):
            while not self._complete and size < MOST_DISCARDED_BYTES:
                async with asyncio.timeout(SECONDS_TO_DISCARD):
                    message = await self.receive()
                size += len(message.get("body", b""))


class Gate:
    """Middleware that checks a request before its endpoint sees it, and counts it.

    Parameters
    ----------
    app : ASGI application
        What is behind the gate.
    settings : ServerSettings
        Token and limits.
    metrics : Metrics
        Counts requests.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics
        self.most = settings.limits.concurrency
        self.in_progress = 0
        self._authorization = f"Bearer {settings.token}".encode() if settings.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or answer that it is refused."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        body = RequestBody(scope, receive)

        async def send_and_remember(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    await body.discard()
            await send(message)

        self.in_progress += 1
        try:
            try:
                self._check(scope)
            except RequestError as error:
                await error_response(error)(scope, body.receive, send_and_remember)
            else:
                await self.app(scope, body.receive, send_and_remember)
        finally:
            self.in_progress -= 1
            protocol = PROTOCOLS.get(scope["path"][1:3], "other")
            self.metrics.requests.labels(protocol, str(status)).inc()
            self.metrics.seconds.labels(protocol).observe(time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        """Raise `RequestError` if a request may not be served."""
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return
        if self._authorization is not None:
            given = next(
                (value for name, value in scope["headers"] if name == b"authorization"), b""
            )
            if not hmac.compare_digest(given, self._authorization):
                raise RequestError(
                    401,
                    "an access token is needed: send the header 'Authorization: Bearer TOKEN'",
                    {"WWW-Authenticate": "Bearer"},
                )
        if self.in_progress > self.most:
            raise RequestError(
                503,
                f"the server is busy with {self.most} requests; try again",
                RETRY,
            )
