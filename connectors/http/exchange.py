"""The time limits of one HTTP exchange, from the DNS lookup to the last byte of the response.

A timeout of httpx limits one read. A peer that sends a byte now and then never reaches it. So each exchange has its own
limits, which every operation on its connection respects (connectors.http.sockets):

| part | from, to | limit |
| --- | --- | --- |
| connection | DNS lookup, connect, proxy, TLS | the read timeout |
| head | sending the request, end of the response headers; interim responses (1xx) do not count | the read timeout |
| whole | everything, to the end of the body and its trailers | the time left for the call |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore

# No head needs more. This limit also ends an endless sequence of interim responses.
LARGEST_HEAD_BYTES = 512 * 1024

_UNDER_WAY: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class Exchange:
    """The limits of one exchange, in real seconds, because sockets know no injected clock.

    read_timeout: the limit of the connection, and again of the head. whole: the limit of everything.
    """

    def __init__(self, read_timeout: float, whole: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._read_timeout = read_timeout
        self._ends = monotonic() + whole
        self._limit = min(monotonic() + read_timeout, self._ends)
        self._head_bytes: int | None = 0
        self.connecting = False
        self._close: Callable[[], None] | None = None

    @contextmanager
    def under_way(self) -> Iterator[Exchange]:
        """Apply the limits of this exchange to the connections of this thread."""
        token = _UNDER_WAY.set(self)
        try:
            yield self
        finally:
            _UNDER_WAY.reset(token)

    def begin_connecting(self) -> None:
        """Note that a connection is being made. Until the request is sent, nothing can have reached the API."""
        self.connecting = True

    def connected(self, close: Callable[[], None]) -> None:
        """Note how to close the new connection."""
        self._close = close

    def cancel_connecting(self) -> None:
        """Close the connection if no request was sent on it, because httpcore leaves one to a SOCKS proxy open."""
        if self.connecting and self._close is not None:
            self._close()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Process a progress event of httpcore (its extension `trace`)."""
        if event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            self.connecting, self._close = False, None
            self._head_bytes = 0
            self._limit = min(self._monotonic() + self._read_timeout, self._ends)

    def end_head(self) -> None:
        """Note that the status and headers are complete. The body may use all the time that is left."""
        self._head_bytes = None
        self._limit = self._ends

    def remaining(self) -> float:
        """Return the seconds left for the current part; negative after its limit."""
        return self._limit - self._monotonic()

    def received(self, size: int) -> None:
        """Count received bytes. Raises: httpcore.RemoteProtocolError if the head is too large."""
        if self._head_bytes is not None:
            self._head_bytes += size
            if self._head_bytes > LARGEST_HEAD_BYTES:
                raise httpcore.RemoteProtocolError(f"more than {LARGEST_HEAD_BYTES} bytes came before the body")


def exchange_under_way() -> Exchange | None:
    """Return the current exchange of this thread, or None."""
    return _UNDER_WAY.get()
