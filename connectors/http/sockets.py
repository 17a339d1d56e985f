"""Connections that respect the time limits of an exchange (connectors.http.exchange).

This network backend of httpcore resolves names in a thread, divides the time among the addresses of a name, and checks
the time at each read and write, also within TLS and within TLS through a TLS proxy.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, cast

import httpcore

from connectors.http.exchange import exchange_under_way

# The largest record of TLS.
RECORD_BYTES = 16_384
# Read several available records at once: a read through four layers of HTTP costs more than a record.
READ_BYTES = 4 * RECORD_BYTES

Resolve = Callable[[str, int], list[Any]]


def _look_up(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class BoundedBackend(httpcore.NetworkBackend):
    """The network backend. resolve: resolves a name, as socket.getaddrinfo does; it may take any time."""

    def __init__(self, resolve: Resolve = _look_up) -> None:
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 -- httpcore's own signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        exchange = exchange_under_way()
        if exchange is not None:
            exchange.begin_connecting()
        try:
            connected = _connect(self._addresses(host, port, timeout), timeout)
            for option in socket_options or ():
                connected.setsockopt(*option)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        # A name with an empty or too long label raises UnicodeError.
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        stream = _Stream(connected)
        if exchange is not None:
            exchange.connected(stream.close)
        return stream

    def _addresses(self, host: str, port: int, timeout: float | None) -> list[Any]:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        found: SimpleQueue[list[Any] | Exception] = SimpleQueue()

        def look_up() -> None:
            try:
                found.put(self._resolve(host, port))
            except Exception as error:  # noqa: BLE001 -- raised again in the waiting thread
                found.put(error)

        # A lookup can't be cancelled. If it takes too long, its daemon thread is abandoned; it does not block the exit.
        Thread(target=look_up, name="name-look-up", daemon=True).start()
        try:
            addresses = found.get(timeout=_cut(timeout))
        except Empty:
            raise TimeoutError("DNS lookup timed out") from None
        if isinstance(addresses, Exception):
            raise addresses
        return addresses


def _connect(addresses: list[Any], timeout: float | None) -> socket.socket:
    """Return a connection to the first address that accepts one.

    The time is divided among the addresses, because a route that drops all packets (IPv6 in many networks) must not
    use the time of the next address.
    """
    failure: OSError = OSError("the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        left = _cut(timeout)
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(None if left is None else left / (len(addresses) - index))
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
        else:
            return made
    raise failure


def _cut(timeout: float | None) -> float | None:
    """Return the timeout, limited to the time left for the exchange. Raises: TimeoutError if none is left."""
    exchange = exchange_under_way()
    if exchange is None:
        return timeout
    left = exchange.remaining()
    if left <= 0:
        raise TimeoutError("the exchange took too long")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A socket, with or without TLS."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = memoryview(b"")
        self._failure: OSError | None = None
        self._ended = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._socket.settimeout(_cut(timeout))
            data = self._records() if isinstance(self._socket, ssl.SSLSocket) else self._socket.recv(max_bytes)
            if (exchange := exchange_under_way()) is not None:
                exchange.received(len(data))
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        return data

    def _records(self) -> bytes:
        """Return a record, and those that have arrived behind it. The next read raises a failure behind them."""
        if self._failure is not None:
            raise self._failure
        if not self._buffer:
            self._buffer = memoryview(bytearray(READ_BYTES))
        size = more = self._socket.recv_into(self._buffer)
        if size == RECORD_BYTES:
            self._socket.settimeout(0)
        while more == RECORD_BYTES and size < READ_BYTES:
            try:
                more = self._socket.recv_into(self._buffer[size:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                self._failure = error
                break
            size += more
        self._ended = more == 0
        return bytes(self._buffer[:size])

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = memoryview(buffer)
        try:
            while left:
                self._socket.settimeout(_cut(timeout))
                left = left[self._socket.send(left) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                return _TlsInTls(self, ssl_context, server_hostname, timeout)
            # CPython applies the timeout to the whole handshake, not to each read.
            self._socket.settimeout(_cut(timeout))
            return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname))
        except (TimeoutError, httpcore.TimeoutException) as error:
            self.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, ValueError, httpcore.NetworkError) as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "client_addr":
                return self._socket.getsockname()
            case "server_addr":
                return self._socket.getpeername()
            case "socket":
                return self._socket
            case "is_readable":
                # The socket does not know about data that was read ahead.
                return self._ended or self._failure is not None or _is_readable(self._socket)
        return None


class _TlsInTls(httpcore.NetworkStream):
    """TLS inside the TLS connection to a proxy."""

    def __init__(
        self, below: _Stream, context: ssl.SSLContext, server_hostname: str | None, timeout: float | None
    ) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._perform(self._tls.do_handshake, timeout)

    def _perform(self, step: Callable[[], Any], timeout: float | None) -> Any:
        while True:
            result, waits = None, False
            try:
                result = step()
            except ssl.SSLWantReadError:
                waits = True
            finally:
                # Send pending data even after an error: it may be a TLS alert.
                if self._outgoing.pending:
                    self._below.write(self._outgoing.read(), timeout)
            if not waits:
                return result
            data = self._below.read(RECORD_BYTES, timeout)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return cast("bytes", self._perform(lambda: self._tls.read(max_bytes), timeout))
        except ssl.SSLZeroReturnError:
            return b""
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = memoryview(buffer)
        try:
            while left:
                here = left[:RECORD_BYTES]
                left = left[self._perform(lambda here=here: self._tls.write(here), timeout) :]  # type: ignore[misc]
        except httpcore.ReadTimeout as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._below.close()

    def get_extra_info(self, info: str) -> Any:
        return self._tls if info == "ssl_object" else self._below.get_extra_info(info)


def _is_readable(connected: socket.socket) -> bool:
    """Return whether an idle connection has data to read: the peer has closed it, or broke the protocol."""
    if connected.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))
