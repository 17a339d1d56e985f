"""An exchange ends within its limits when the head, body, trailers, TLS, a proxy or a DNS lookup is slow.

Real sockets and real time, with limits of hundredths of a second.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpcore
import pytest

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.exchange import Exchange
from connectors.http.network import Network
from connectors.http.proxies import Proxy
from connectors.http.sockets import BoundedBackend
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from core.clock import Deadline
from core.errors import NetworkFailure, NotReceived, OutcomeUnknown
from tests.connectors.scripted import ACCOUNT, JOB_ID, TOKEN
from tests.connectors.slow_peers import (
    PIECE_SECONDS,
    Caller,
    Peer,
    Talk,
    answer_with_job,
    client_context,
    job_response,
    over_tls,
    peer,
    relay,
)
from tests.exhaustive import exhaustive_unless

READ_TIMEOUT = 0.05
# Long enough for a response on a busy machine.
LONG_READ_TIMEOUT = 0.5
# Limit of one exchange: a call with less time left still gets a second.
EXCHANGE_LIMIT = 4 * READ_TIMEOUT
# Allowance for a busy machine. A peer that is not cut off never ends.
SLACK = 1.5

REQUEST = BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=SearchParams(sender="a@phish.example"))


def connected(base_url: str, http: Network | None = None, read_timeout: float = READ_TIMEOUT) -> EmailSecurity:
    settings = {
        "account_id": ACCOUNT,
        "api_token": TOKEN,
        "base_url": base_url,
        "request_timeout_seconds": read_timeout,
        "call_allowance_seconds": 0.1,
    }
    return EmailSecurity(Connection.checked(settings), http=http)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK


def after_request(*pieces: bytes, first: bytes = b"", pause: float = PIECE_SECONDS) -> Talk:
    def talk(caller: Caller) -> None:
        caller.request()
        caller.send(first)
        caller.trickle(*pieces, pause=pause)

    return talk


INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

SLOW: dict[str, Talk] = {
    "interim answers": after_request(INTERIM),
    "interim answers at full speed": after_request(INTERIM * 50, pause=0),
    "100 Continue": after_request(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "header lines": after_request(b"x-more: 1\r\n", first=b"HTTP/1.1 200 OK\r\n"),
    "one header, a letter at a time": after_request(b"x", first=b"HTTP/1.1 200 OK\r\nx-more: "),
    "status line, a letter at a time": after_request(b"x", first=b"HTTP/1.1 200 O"),
    "empty lines before the status line": after_request(b"\r\n"),
    "body, a byte at a time": after_request(b" ", first=b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"),
    "body without a length": after_request(b" ", first=b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks of one byte": after_request(b"1\r\n \r\n", first=CHUNKED),
    "chunk extension": after_request(b"x", first=CHUNKED + b"1;a="),
    "chunk size": after_request(b"0", first=CHUNKED),
    "trailers": after_request(b"x-more: 1\r\n", first=CHUNKED + b"1\r\n{\r\n0\r\n"),
    "body of a refusal": after_request(b" ", first=b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100000\r\n\r\n"),
}


@pytest.mark.parametrize("kind", exhaustive_unless(list(SLOW)[::3], SLOW))
def test_a_read_with_a_trickling_response_ends_within_its_limit(kind: str) -> None:
    with (
        peer(SLOW[kind]) as slow,
        connected(f"http://127.0.0.1:{slow.port}/client/v4") as api,
        at_most(EXCHANGE_LIMIT),
        pytest.raises(NetworkFailure) as caught,
    ):
        api.get_job(JOB_ID)
    assert not isinstance(caught.value, NotReceived)


@pytest.mark.parametrize("kind", ["interim answers", "header lines", "chunk extension", "trailers"])
def test_a_create_with_a_trickling_response_has_an_unknown_outcome(kind: str) -> None:
    with (
        peer(SLOW[kind]) as slow,
        connected(f"http://127.0.0.1:{slow.port}/client/v4") as api,
        at_most(EXCHANGE_LIMIT),
        pytest.raises(OutcomeUnknown),
    ):
        api.create_job(REQUEST)
    assert slow.accepted == 1


def test_a_read_with_a_trickling_head_is_retried_within_the_allowance() -> None:
    with (
        peer(SLOW["header lines"], answer_with_job) as service,
        connected(f"http://127.0.0.1:{service.port}/client/v4", read_timeout=LONG_READ_TIMEOUT).with_allowance(
            20
        ) as api,
    ):
        assert api.get_job(JOB_ID).job_id == JOB_ID
    assert service.accepted == 2


def test_a_reused_connection_has_the_same_limits_as_a_new_one() -> None:
    def slow_the_second_time(caller: Caller) -> None:
        caller.request()
        caller.send(job_response())
        SLOW["interim answers"](caller)

    with (
        peer(slow_the_second_time) as service,
        connected(f"http://127.0.0.1:{service.port}/client/v4", read_timeout=LONG_READ_TIMEOUT) as api,
    ):
        api.get_job(JOB_ID)
        with at_most(LONG_READ_TIMEOUT), pytest.raises(NetworkFailure):
            api.get_job(JOB_ID)
    assert service.accepted == 1


def test_a_deadline_ends_an_exchange_under_way() -> None:
    with peer(SLOW["chunks of one byte"]) as slow:
        settings = {"account_id": ACCOUNT, "api_token": TOKEN, "base_url": f"http://127.0.0.1:{slow.port}"}
        with EmailSecurity(Connection.checked(settings)) as api, at_most(1), pytest.raises(NetworkFailure):
            api.with_deadline(Deadline(api.clock, 0.1)).get_job(JOB_ID)


def test_prefetched_pages_have_the_same_limits() -> None:
    with (
        peer(SLOW["body, a byte at a time"]) as slow,
        connected(f"http://127.0.0.1:{slow.port}/client/v4") as api,
        at_most(3 * EXCHANGE_LIMIT),
        pytest.raises(NetworkFailure),
    ):
        list(api.job_message_pages(JOB_ID))


# A write may be repeated if nothing can have reached the service.

TLS_RECORD_HEAD = b"\x16\x03\x03\x40\x00"


def handshake_that_trickles(caller: Caller) -> None:
    caller.connection.recv(65_536)
    caller.send(TLS_RECORD_HEAD)
    caller.trickle(b"\x02")


def assert_not_received(api: EmailSecurity) -> None:
    with api, at_most(EXCHANGE_LIMIT), pytest.raises(NotReceived) as caught:
        api.create_job(REQUEST)
    assert caught.value.applied == "no"


def test_a_trickling_tls_handshake_is_a_failed_connection() -> None:
    with peer(handshake_that_trickles) as slow:
        url = f"https://127.0.0.1:{slow.port}/client/v4"
        assert_not_received(connected(url, Network(client_context(), None)))


def connect_answered_slowly(caller: Caller) -> None:
    caller.request()
    caller.send(b"HTTP/1.1 200 OK\r\n")
    caller.trickle(b"x-more: 1\r\n")


def tunnel_then_slow_handshake(caller: Caller) -> None:
    caller.request()
    caller.send(b"HTTP/1.1 200 OK\r\n\r\n")
    handshake_that_trickles(caller)


def garbage(caller: Caller) -> None:
    caller.connection.recv(65_536)
    caller.send(b"SSH-2.0-OpenSSH_9.6\r\n")


def hang_up(caller: Caller) -> None:
    caller.connection.recv(65_536)


def refuse_with(status: bytes) -> Talk:
    head = b"HTTP/1.1 %s\r\ncontent-length: 100000\r\n\r\n" % status
    return after_request(b"x", first=head)


SLOW_PROXIES: dict[str, tuple[str, Talk]] = {
    "CONNECT refused with a slow body": ("http", refuse_with(b"407 Proxy Authentication Required")),
    "CONNECT taken with a slow body": ("http", refuse_with(b"200 OK")),
    "CONNECT answered slowly": ("http", connect_answered_slowly),
    "CONNECT with interim answers": ("http", SLOW["interim answers"]),
    "CONNECT answered by garbage": ("http", garbage),
    "CONNECT hung up on": ("http", hang_up),
    "tunnel with a slow handshake": ("http", tunnel_then_slow_handshake),
    "https proxy, slow handshake": ("https", handshake_that_trickles),
    "https proxy, CONNECT answered slowly": ("https", over_tls(connect_answered_slowly)),
    "https proxy, tunnel with a slow handshake": ("https", over_tls(tunnel_then_slow_handshake)),
}


@pytest.mark.parametrize("kind", SLOW_PROXIES)
def test_a_slow_or_invalid_proxy_response_is_a_failed_connection(kind: str) -> None:
    scheme, talk = SLOW_PROXIES[kind]
    with peer(talk) as slow:
        network = Network(client_context(), Proxy(scheme, "127.0.0.1", slow.port))
        assert_not_received(connected("https://service.example/client/v4", network))


@pytest.mark.parametrize("status", [b"407 <b>call 555-1234</b>", b"302 Found", b"503"])
def test_a_proxy_refusal_is_reported_by_its_status_only(status: bytes) -> None:
    with peer(refuse_with(status)) as slow:
        network = Network(client_context(), Proxy("http", "127.0.0.1", slow.port))
        with connected("https://service.example/client/v4", network) as api, pytest.raises(NotReceived) as caught:
            api.create_job(REQUEST)
    assert caught.value.message == f"the API could not be reached (ProxyError: it answered {status[:3].decode()})"


def tunnel_to(service: Peer) -> Talk:
    """Return a working proxy: it accepts CONNECT, then relays both directions."""

    def talk(caller: Caller) -> None:
        caller.request()
        with socket.create_connection(("127.0.0.1", service.port)) as onward:
            caller.send(b"HTTP/1.1 200 OK\r\n\r\n")
            relay(caller.connection, onward)

    return talk


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_working_proxy_is_used_also_with_tls_inside_tls(scheme: str) -> None:
    with peer(over_tls(answer_with_job)) as service:
        talk = tunnel_to(service)
        with peer(over_tls(talk) if scheme == "https" else talk) as proxy:
            network = Network(client_context(), Proxy(scheme, "127.0.0.1", proxy.port, (b"ana", b"p\xc3\xa4ss")))
            with connected("https://service.example/client/v4", network, 10).with_allowance(20) as api:
                assert [api.get_job(JOB_ID).job_id for _ in range(3)] == [JOB_ID] * 3
    # One connection serves the three calls. On a busy machine its handshake may come too late, and is repeated once.
    assert proxy.accepted == service.accepted <= 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_trickling_response_through_a_proxy_has_an_unknown_outcome(scheme: str) -> None:
    with peer(over_tls(SLOW["header lines"])) as service:
        talk = tunnel_to(service)
        with peer(over_tls(talk) if scheme == "https" else talk) as proxy:
            network = Network(client_context(), Proxy(scheme, "127.0.0.1", proxy.port))
            with (
                connected("https://service.example/client/v4", network, LONG_READ_TIMEOUT) as api,
                at_most(4 * LONG_READ_TIMEOUT),
                pytest.raises(OutcomeUnknown),
            ):
                api.create_job(REQUEST)


# DNS lookups and addresses


def test_a_hanging_dns_lookup_is_a_failed_connection() -> None:
    waiting = threading.Event()

    def never(host: str, port: int) -> list[object]:
        waiting.wait(10)
        return []

    network = Network(client_context(), None, BoundedBackend(never))
    try:
        assert_not_received(connected("https://service.example/client/v4", network))
    finally:
        waiting.set()


@pytest.mark.parametrize("problem", [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), OSError("no")])
def test_a_failed_dns_lookup_is_a_failed_connection(problem: Exception) -> None:
    def fails(host: str, port: int) -> list[object]:
        raise problem

    network = Network(client_context(), None, BoundedBackend(fails))
    assert_not_received(connected("https://service.example/client/v4", network))


def test_an_unresponsive_address_leaves_time_for_the_next() -> None:
    # A listener with a full queue accepts no further connection.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, peer(answer_with_job) as service:
        first = socket.create_connection(full.getsockname())
        second = socket.socket()
        second.setblocking(False)
        second.connect_ex(full.getsockname())

        def both(host: str, port: int) -> list[object]:
            here = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*here, full.getsockname()), (*here, ("127.0.0.1", service.port))]

        network = Network(None, None, BoundedBackend(both))
        url = f"http://localhost:{service.port}/client/v4"
        with (
            first,
            second,
            connected(url, network, LONG_READ_TIMEOUT).with_allowance(5) as api,
            at_most(LONG_READ_TIMEOUT),
        ):
            assert api.get_job(JOB_ID).job_id == JOB_ID


def test_sending_to_a_slow_reader_times_out() -> None:
    def read_slowly(caller: Caller) -> None:
        while caller.connection.recv(1) and not caller.over.wait(0.01):
            pass

    with peer(read_slowly) as slow:
        stream = BoundedBackend().connect_tcp("127.0.0.1", slow.port)
        with Exchange(0.2, 0.2).under_way(), at_most(0.2), pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x" * 50_000_000, timeout=30)
        stream.close()


def test_the_limits_follow_the_current_part_of_the_exchange() -> None:
    now = [0.0]
    exchange = Exchange(10, 25, monotonic=lambda: now[0])
    now[0] = 8
    assert exchange.remaining() == 2
    exchange.trace("http11.send_request_headers.started", {"request": _Sent(b"CONNECT")})
    assert exchange.remaining() == 2
    exchange.trace("http11.send_request_headers.started", {"request": _Sent(b"GET")})
    assert exchange.remaining() == 10
    now[0] = 16
    exchange.trace("http11.send_request_headers.started", {"request": _Sent(b"GET")})
    assert exchange.remaining() == 9
    exchange.end_head()
    assert exchange.remaining() == 9


class _Sent:
    def __init__(self, method: bytes) -> None:
        self.method = method
