"""uvicorn's HTTP protocol with a limit on headers and a gentler end of connections."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADER_BYTES = 65_536
STOP = "stop"  # in the state of the application: tells it that the server stops
SECONDS_UNTIL_IDLE_CLOSE = 0.5  # in which a request that is on its way can still arrive


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    The parser itself takes headers of any length. And when the server stops, uvicorn closes idle
    connections at once, so that a request that the client has just sent on one gets no answer.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_bytes = 0
        self._in_headers = True
        self._stopping = False

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._in_headers:
            if self._header_bytes > MOST_HEADER_BYTES:
                self.send_400_response("The headers are too long.")
                return
            self._header_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        """Start the application on a request."""
        self._in_headers = False
        self._header_bytes = 0
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """End the connection: after its answer, or after a short time if it is idle."""
        self._stopping = True
        self.app_state[STOP]()
        if self.cycle:  # none before the first request
            self.cycle.keep_alive = False
        self.loop.call_later(SECONDS_UNTIL_IDLE_CLOSE, super().shutdown)
