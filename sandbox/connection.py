"""Closes real connections, to simulate failures of the network.

An ASGI application has no access to its socket. So the protocol of the server registers each transport here under the
peer's address, which is in the scope of the request.
"""

import asyncio
import socket
import struct
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

Peer = tuple[str, int]

# Linger for 0 seconds: the kernel sends a reset instead of a normal end.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Connections:
    """The open connections of a server, by peer address."""

    def __init__(self) -> None:
        self._open: dict[Peer, asyncio.Transport] = {}

    def add(self, peer: Peer, transport: asyncio.Transport) -> None:
        self._open[peer] = transport

    def remove(self, peer: Peer) -> None:
        self._open.pop(peer, None)

    def drop(self, peer: Peer | None, *, reset: bool) -> bool:
        """Close at once, without unsent bytes. Return False if the connection does not belong to this server."""
        transport = self._open.get(peer) if peer else None
        if transport is None:
            return False
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        return True

    def close(self, peer: Peer | None) -> bool:
        """Close after all written bytes are sent. Return False if the connection does not belong to this server."""
        transport = self._open.get(peer) if peer else None
        if transport is None:
            return False
        transport.close()
        return True


def protocol_for(connections: Connections) -> type[H11Protocol]:
    """Return an HTTP/1.1 protocol class that registers its connections in `connections`."""

    class TrackedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                connections.add(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                connections.remove(self.client)
            super().connection_lost(exc)

    return TrackedProtocol
