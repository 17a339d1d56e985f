"""Serve the application until SIGINT or SIGTERM."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from actions.contract.ending import EndedBySignal
from core.errors import ConnectionSettingsError
from core.service_url import is_loopback
from platforms.http.app import build_app
from platforms.http.connections import MOST_CONNECTIONS, BoundedProtocol
from platforms.http.service import Service

BACKLOG = 2048
MOST_FILES = 16_384

# How long a stop waits for answers that have begun. Orchestrators kill a process after 30 s.
STOP_SECONDS = 10


def serve(service: Service, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until a signal. port: 0 for a free one. announce: called with the address once it accepts requests.

    Raises: ConnectionSettingsError if the address can't be used, or others can reach it and no caller has a token.
    """
    check_address(service, host)
    raise_file_limit()
    bound = _bound(host, port)
    name = f"[{host}]" if ":" in host else host
    with bound:
        # Clients can connect from now on: the system holds their requests until the server takes them.
        bound.listen(BACKLOG)
        announce(f"http://{name}:{bound.getsockname()[1]}")
        # uvicorn raises the signal again once it has stopped.
        with suppress(KeyboardInterrupt, EndedBySignal):
            server_of(service).run(sockets=[bound])


class _Server(uvicorn.Server):
    """A server that tells the service of a signal at once, not after the answers that have begun."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.begin_stop()
        super().handle_exit(sig, frame)


def server_of(service: Service) -> uvicorn.Server:
    """Return a server for the application of a service."""
    config = uvicorn.Config(
        build_app(service),
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Idle connections are closed before; these all have a request.
        limit_concurrency=MOST_CONNECTIONS + 1,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=65_536,
        lifespan="on",
    )
    return _Server(config, service)


def raise_file_limit() -> None:
    """Allow as many open files as the connections and the databases of all threads need, if the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_address(service: Service, host: str) -> None:
    """Refuse an address that others can reach while no caller exists. Raises: ConnectionSettingsError."""
    if not is_loopback(host) and not service.callers.any():
        raise ConnectionSettingsError(
            f"the address {host} can be reached from other machines, and no caller has a token",
            help="Nothing was started. Create a caller first: cfes token create NAME --scopes read,write. The service "
            "speaks HTTP: put a proxy with TLS in front of it (see docs/how-to/run-the-http-service.md).",
        )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends an answer's last part at once (TCP_NODELAY).
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConnectionSettingsError(
            f"the address {host}, port {port}, can't be used: {reason}",
            help="Nothing was started. Choose another --host or --port.",
        ) from None
    return bound
