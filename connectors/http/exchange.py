"""How long one exchange with the service may take, from the look-up of its name to the last byte of its answer.

A timeout of httpx is for one silence: a peer that sends a byte now and then is never silent. So each exchange has
limits of its own, which every operation on its connection is cut to (connectors.http.sockets):

| part | from, to | limit |
| --- | --- | --- |
| connection | name look-up, connect, proxy, TLS | the timeout for one silence |
| head | the sending of the request, to the end of the answer's head; interim answers (1xx) do not count | once more |
| whole | all of it, to the end of the body and its trailers | what the call has left |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# Far more than any head needs; one interim answer after the other has no other end.
LARGEST_HEAD_BYTES = 512 * 1024

_UNDER_WAY: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class HeadTooLarge(Exception):
    """More came than any head of an answer has."""


class Exchange:
    """The limits of one exchange, in real seconds: sockets know no other.

    silence: for the connection, and once more for the head. whole: for everything.
    """

    def __init__(self, silence: float, whole: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._silence = silence
        self._ends = monotonic() + whole
        self._limit = min(monotonic() + silence, self._ends)
        self._head_bytes: int | None = 0
        self.connecting = False
        self._close: Callable[[], None] = _nothing

    @contextmanager
    def under_way(self) -> Iterator[Exchange]:
        """Make this the exchange that this thread's connections are cut to."""
        token = _UNDER_WAY.set(self)
        try:
            yield self
        finally:
            _UNDER_WAY.reset(token)

    def begin_connecting(self) -> None:
        """Note that a connection is made: until the request is sent, nothing can have reached the service."""
        self.connecting = True

    def connected(self, close: Callable[[], None]) -> None:
        """Note how the connection that was just made is closed."""
        self._close = close

    def give_up_connecting(self) -> None:
        """Close the connection if the request was not sent on it: httpcore leaves one to a SOCKS proxy open."""
        if self.connecting:
            self._close()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take in what httpcore tells of its progress (its extension `trace`)."""
        if event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            self.connecting, self._close = False, _nothing
            self._head_bytes = 0
            self._limit = min(self._monotonic() + self._silence, self._ends)

    def head_is_there(self) -> None:
        """Note that the answer's status and headers have come: the body has the time that is left."""
        self._head_bytes = None
        self._limit = self._ends

    def remaining(self) -> float:
        """Return the seconds that the part under way has left; negative once they are over."""
        return self._limit - self._monotonic()

    def received(self, size: int) -> None:
        """Count what came off the wire. Raises: HeadTooLarge."""
        if self._head_bytes is not None:
            self._head_bytes += size
            if self._head_bytes > LARGEST_HEAD_BYTES:
                raise HeadTooLarge(f"more than {LARGEST_HEAD_BYTES} bytes came before the answer's body")


def _nothing() -> None:
    """Close nothing."""


def exchange_under_way() -> Exchange | None:
    """Return the exchange of this thread, if there is one."""
    return _UNDER_WAY.get()
