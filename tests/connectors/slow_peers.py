"""Slow peers on loopback that send a few bytes at a time, in real time."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.connectors.scripted import envelope, job

TLS = Path(__file__).parent / "loopback_tls"

# Far shorter than any timeout of a test.
PIECE_SECONDS = 0.01

Talk = Callable[["Caller"], None]


class Caller:
    """One connection that a peer has accepted."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self.connection = connection
        self.over = over

    def request(self) -> bytes:
        """Read the head of one request, and the body that arrives with it."""
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.connection.recv(65_536)
            if not more:
                raise ConnectionError
            received += more
        return received

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def trickle(self, *pieces: bytes, pause: float = PIECE_SECONDS) -> None:
        """Send the pieces in a loop until the caller disconnects or the test ends."""
        for piece in itertools.cycle(pieces):
            self.send(piece)
            if self.over.wait(pause):
                raise ConnectionError


class Peer:
    """Passes each accepted connection to the next of `talks`; the last one serves all further connections."""

    def __init__(self, talks: tuple[Talk, ...]) -> None:
        self.accepted = 0
        self._talks = talks
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                talk = self._talks[min(self.accepted, len(self._talks) - 1)]
                self.accepted += 1
                thread = threading.Thread(target=self._talk, args=(talk, connection), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _talk(self, talk: Talk, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, suppress(OSError):
            talk(Caller(connection, self._over))

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def peer(*talks: Talk) -> Iterator[Peer]:
    listening = Peer(talks)
    try:
        yield listening
    finally:
        listening.close()


def answer_with_job(caller: Caller) -> None:
    """Answer each request with a job."""
    while True:
        caller.request()
        caller.send(job_response())


def job_response() -> bytes:
    body = json.dumps(envelope(job())).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Relay both directions until both sides have closed."""
    back = threading.Thread(target=_pump, args=(other, one), daemon=True)
    back.start()
    _pump(one, other)
    back.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def over_tls(talk: Talk) -> Talk:
    """Wrap the talk in TLS with the certificate of these tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "test_only_key.pem")

    def encrypted(caller: Caller) -> None:
        with context.wrap_socket(caller.connection, server_side=True) as connection:
            talk(Caller(connection, caller.over))

    return encrypted


def client_context() -> ssl.SSLContext:
    """Return a client context that trusts the certificate of these tests for any host."""
    context = ssl.create_default_context(cafile=TLS / "certificate.pem")
    context.check_hostname = False
    return context
