"""Connections of clients: a client that sends nothing, or too slowly, holds none for long."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

# Beyond these, the connection that has been idle for the longest time is closed for a new one.
MOST_CONNECTIONS = 1000

# From the first byte of a request to the end of its headers. A new connection has the same time for its first request.
HEAD_SECONDS = 10.0


class BoundedProtocol(H11Protocol):
    """A connection that is closed unless the headers of a request arrive in time.

    The time of a body is that of `platforms.http.requests`. Between requests, uvicorn's keep-alive time holds.
    """

    _timer: asyncio.TimerHandle | None = None
    _idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._await_head()
        if len(self.connections) >= MOST_CONNECTIONS:
            self._close_an_idle_one()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_idle():
            self._await_head()
        else:
            self._stop_timer()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        """Return whether no request is being answered. A body that nobody reads does not count."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        # More bytes don't extend the time.
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._close_if_idle)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_if_idle(self) -> None:
        self._timer = None
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def _close_an_idle_one(self) -> None:
        idle = [
            each
            for each in self.connections
            if isinstance(each, BoundedProtocol)
            and each is not self
            and each._is_idle()
            and not each.transport.is_closing()
        ]
        if idle:
            min(idle, key=lambda each: each._idle_since).transport.close()
