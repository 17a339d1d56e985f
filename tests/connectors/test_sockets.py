"""Bytes over TLS arrive complete and in order, before any failure, however they are split into records."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpcore
import pytest

from connectors.http.sockets import READ_BYTES, RECORD_BYTES, BoundedBackend

TLS = Path(__file__).parent / "loopback_tls"
SECONDS = 20


def start_service(pieces: Sequence[bytes], *, behind: bytes = b"") -> tuple[int, threading.Thread]:
    """Start a service that sends the pieces, then `behind` outside of TLS, and closes. Return its port and thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "test_only_key.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, context.wrap_socket(listener.accept()[0], server_side=True) as peer:
            for piece in pieces:
                peer.sendall(piece)
            with socket.socket(fileno=peer.detach()) as bare:
                bare.sendall(behind)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener.getsockname()[1], thread


def open_stream(port: int) -> httpcore.NetworkStream:
    context = ssl.create_default_context(cafile=TLS / "certificate.pem")
    context.check_hostname = False
    return BoundedBackend().connect_tcp("127.0.0.1", port, SECONDS).start_tls(context, timeout=SECONDS)


def read(stream: httpcore.NetworkStream) -> Iterator[bytes]:
    while data := stream.read(65_536, SECONDS):
        yield data


@pytest.mark.parametrize("seed", range(6))
def test_sent_bytes_arrive_complete_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    sizes = (1, 100, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, READ_BYTES, READ_BYTES + 1, 300_000)
    pieces = [chance.randbytes(chance.choice(sizes)) for _ in range(20)]
    port, thread = start_service(pieces)
    stream = open_stream(port)
    got = b"".join(read(stream))
    stream.close()
    thread.join(SECONDS)
    assert got == b"".join(pieces)


@pytest.mark.parametrize("size", [RECORD_BYTES, 2 * RECORD_BYTES, READ_BYTES, READ_BYTES + 5])
def test_a_failure_is_raised_after_the_bytes_before_it(size: int) -> None:
    data = random.Random(size).randbytes(size)
    port, thread = start_service([data], behind=b"\x17\x03\x03\x00\x20" + b"x" * 32)
    stream, got = open_stream(port), b""
    thread.join(SECONDS)
    assert stream.get_extra_info("is_readable")
    with pytest.raises(httpcore.ReadError):
        while len(got) <= size:
            piece = stream.read(65_536, SECONDS)
            assert piece
            got += piece
            # The stream must not be used for another request.
            assert stream.get_extra_info("is_readable")
    stream.close()
    assert got == data
