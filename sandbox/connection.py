"""Closing a connection for real: what a caller sees when the network, not the API, goes wrong.

An ASGI application can't reach its socket, so the server's protocol leaves each transport here under the peer's
address, which is in the request's scope.
"""

import asyncio
import socket
import struct
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

Peer = tuple[str, int]

# Linger for 0 seconds: the kernel answers with a reset instead of an orderly end.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Connections:
    """The open connections of one server, by the peer's address."""

    def __init__(self) -> None:
        self._open: dict[Peer, asyncio.Transport] = {}

    def opened(self, peer: Peer, transport: asyncio.Transport) -> None:
        self._open[peer] = transport

    def closed(self, peer: Peer) -> None:
        self._open.pop(peer, None)

    def drop(self, peer: Peer | None, *, reset: bool) -> bool:
        """Close at once, unsent bytes lost. False if the connection isn't one of this server's."""
        transport = self._open.get(peer) if peer else None
        if transport is None:
            return False
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        return True

    def close(self, peer: Peer | None) -> bool:
        """Close once what was written has been sent."""
        transport = self._open.get(peer) if peer else None
        if transport is None:
            return False
        transport.close()
        return True


def protocol_for(connections: Connections) -> type[H11Protocol]:
    """The server's HTTP/1.1 protocol, keeping `connections` up to date."""

    class TrackedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                connections.opened(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                connections.closed(self.client)
            super().connection_lost(exc)

    return TrackedProtocol
