"""No exchange takes longer than its limits, whatever trickles in: head, body, trailers, TLS, proxies, name look-ups.

Real sockets and real time, with limits of tenths of a second.
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
    Caller,
    Peer,
    Talk,
    accepting_the_tests,
    good,
    good_answer,
    joined,
    peer,
    under_tls,
)

SILENCE = 0.1
# Where an answer has to come, on a busy machine too.
PATIENT = 0.5
# Of one exchange: a call that has less left still gets a second.
WHOLE = 4 * SILENCE
# What the machine may add when it is busy. A peer that is not cut off goes on for ever.
SLACK = 1.5

REQUEST = BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=SearchParams(sender="a@phish.example"))


def connected(base_url: str, http: Network | None = None, silence: float = SILENCE) -> EmailSecurity:
    settings = {
        "account_id": ACCOUNT,
        "api_token": TOKEN,
        "base_url": base_url,
        "request_timeout_seconds": silence,
        "call_allowance_seconds": 0.1,
    }
    return EmailSecurity(Connection.checked(settings), http=http)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK


def after_request(*pieces: bytes, first: bytes = b"", pause: float = 0.02) -> Talk:
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


@pytest.mark.parametrize("kind", SLOW)
def test_a_read_ends_within_its_time_whatever_trickles_in(kind: str) -> None:
    with (
        peer(SLOW[kind]) as slow,
        connected(f"http://127.0.0.1:{slow.port}/client/v4") as api,
        at_most(WHOLE),
        pytest.raises(NetworkFailure) as caught,
    ):
        api.get_job(JOB_ID)
    assert not isinstance(caught.value, NotReceived)


@pytest.mark.parametrize("kind", ["interim answers", "header lines", "chunk extension", "trailers"])
def test_of_a_create_that_is_answered_too_slowly_the_outcome_is_unknown(kind: str) -> None:
    with (
        peer(SLOW[kind]) as slow,
        connected(f"http://127.0.0.1:{slow.port}/client/v4") as api,
        at_most(WHOLE),
        pytest.raises(OutcomeUnknown),
    ):
        api.create_job(REQUEST)
    assert slow.accepted == 1


def test_a_read_whose_head_trickles_in_is_tried_again_within_the_allowance() -> None:
    with (
        peer(SLOW["header lines"], good) as service,
        connected(f"http://127.0.0.1:{service.port}/client/v4", silence=PATIENT).with_allowance(20) as api,
    ):
        assert api.get_job(JOB_ID).job_id == JOB_ID
    assert service.accepted == 2


def test_a_connection_that_was_kept_is_bounded_like_a_new_one() -> None:
    def slow_the_second_time(caller: Caller) -> None:
        caller.request()
        caller.send(good_answer())
        SLOW["interim answers"](caller)

    with (
        peer(slow_the_second_time) as service,
        connected(f"http://127.0.0.1:{service.port}/client/v4", silence=PATIENT) as api,
    ):
        api.get_job(JOB_ID)
        with at_most(PATIENT), pytest.raises(NetworkFailure):
            api.get_job(JOB_ID)
    assert service.accepted == 1


def test_a_time_budget_bounds_an_exchange_that_has_begun() -> None:
    with peer(SLOW["chunks of one byte"]) as slow:
        settings = {"account_id": ACCOUNT, "api_token": TOKEN, "base_url": f"http://127.0.0.1:{slow.port}"}
        with EmailSecurity(Connection.checked(settings)) as api, at_most(1), pytest.raises(NetworkFailure):
            api.with_deadline(Deadline(api.clock, 0.1)).get_job(JOB_ID)


def test_pages_that_are_fetched_ahead_are_bounded_too() -> None:
    with (
        peer(SLOW["body, a byte at a time"]) as slow,
        connected(f"http://127.0.0.1:{slow.port}/client/v4") as api,
        at_most(3 * WHOLE),
        pytest.raises(NetworkFailure),
    ):
        list(api.job_message_pages(JOB_ID))


# Where nothing can have reached the service a write may be made again.

NOTHING_HEARD = b"\x16\x03\x03\x40\x00"


def handshake_that_trickles(caller: Caller) -> None:
    caller.connection.recv(65_536)
    caller.send(NOTHING_HEARD)
    caller.trickle(b"\x02")


def refused_before_it_was_sent(api: EmailSecurity) -> None:
    with api, at_most(WHOLE), pytest.raises(NotReceived) as caught:
        api.create_job(REQUEST)
    assert caught.value.applied == "no"


def test_a_tls_handshake_that_trickles_is_a_connection_that_failed() -> None:
    with peer(handshake_that_trickles) as slow:
        url = f"https://127.0.0.1:{slow.port}/client/v4"
        refused_before_it_was_sent(connected(url, Network(accepting_the_tests(), None)))


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


def refusing(status: bytes) -> Talk:
    head = b"HTTP/1.1 %s\r\ncontent-length: 100000\r\n\r\n" % status
    return after_request(b"x", first=head)


SLOW_PROXIES: dict[str, tuple[str, Talk]] = {
    "CONNECT refused with a slow body": ("http", refusing(b"407 Proxy Authentication Required")),
    "CONNECT taken with a slow body": ("http", refusing(b"200 OK")),
    "CONNECT answered slowly": ("http", connect_answered_slowly),
    "CONNECT with interim answers": ("http", SLOW["interim answers"]),
    "CONNECT answered by garbage": ("http", garbage),
    "CONNECT hung up on": ("http", hang_up),
    "tunnel with a slow handshake": ("http", tunnel_then_slow_handshake),
    "https proxy, slow handshake": ("https", handshake_that_trickles),
    "https proxy, CONNECT answered slowly": ("https", under_tls(connect_answered_slowly)),
    "https proxy, tunnel with a slow handshake": ("https", under_tls(tunnel_then_slow_handshake)),
}


@pytest.mark.parametrize("kind", SLOW_PROXIES)
def test_a_proxy_that_trickles_or_talks_nonsense_is_a_connection_that_failed(kind: str) -> None:
    scheme, talk = SLOW_PROXIES[kind]
    with peer(talk) as slow:
        network = Network(accepting_the_tests(), Proxy(scheme, "127.0.0.1", slow.port))
        refused_before_it_was_sent(connected("https://service.example/client/v4", network))


@pytest.mark.parametrize("status", [b"407 <b>call 555-1234</b>", b"302 Found", b"503"])
def test_what_a_proxy_answers_instead_of_a_tunnel_is_named_by_its_status(status: bytes) -> None:
    with peer(refusing(status)) as slow:
        network = Network(accepting_the_tests(), Proxy("http", "127.0.0.1", slow.port))
        with connected("https://service.example/client/v4", network) as api, pytest.raises(NotReceived) as caught:
            api.create_job(REQUEST)
    assert caught.value.message == f"the API could not be reached (ProxyError: it answered {status[:3].decode()})"


def tunnel_to(service: Peer) -> Talk:
    """A proxy that does its work: CONNECT, then what each side sends goes to the other."""

    def talk(caller: Caller) -> None:
        caller.request()
        with socket.create_connection(("127.0.0.1", service.port)) as onward:
            caller.send(b"HTTP/1.1 200 OK\r\n\r\n")
            joined(caller.connection, onward)

    return talk


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_works_is_used_with_tls_inside_tls_too(scheme: str) -> None:
    with peer(under_tls(good)) as service:
        talk = tunnel_to(service)
        with peer(under_tls(talk) if scheme == "https" else talk) as proxy:
            network = Network(accepting_the_tests(), Proxy(scheme, "127.0.0.1", proxy.port, (b"ana", b"p\xc3\xa4ss")))
            with connected("https://service.example/client/v4", network, 10).with_allowance(20) as api:
                assert [api.get_job(JOB_ID).job_id for _ in range(3)] == [JOB_ID] * 3
    assert (proxy.accepted, service.accepted) == (1, 1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_that_trickles_through_a_proxy_is_bounded_and_its_outcome_unknown(scheme: str) -> None:
    with peer(under_tls(SLOW["header lines"])) as service:
        talk = tunnel_to(service)
        with peer(under_tls(talk) if scheme == "https" else talk) as proxy:
            network = Network(accepting_the_tests(), Proxy(scheme, "127.0.0.1", proxy.port))
            with (
                connected("https://service.example/client/v4", network, PATIENT) as api,
                at_most(4 * PATIENT),
                pytest.raises(OutcomeUnknown),
            ):
                api.create_job(REQUEST)


# Names and addresses


def test_a_name_that_is_never_resolved_is_a_connection_that_failed() -> None:
    waiting = threading.Event()

    def never(host: str, port: int) -> list[object]:
        waiting.wait(10)
        return []

    network = Network(accepting_the_tests(), None, BoundedBackend(never))
    try:
        refused_before_it_was_sent(connected("https://service.example/client/v4", network))
    finally:
        waiting.set()


@pytest.mark.parametrize("problem", [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), OSError("no")])
def test_a_failed_dns_lookup_is_a_failed_connection(problem: Exception) -> None:
    def fails(host: str, port: int) -> list[object]:
        raise problem

    network = Network(accepting_the_tests(), None, BoundedBackend(fails))
    refused_before_it_was_sent(connected("https://service.example/client/v4", network))


def test_an_address_that_swallows_everything_leaves_time_for_the_next() -> None:
    # A listener whose queue is full answers no further connection.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, peer(good) as service:
        first = socket.create_connection(full.getsockname())
        second = socket.socket()
        second.setblocking(False)
        second.connect_ex(full.getsockname())

        def both(host: str, port: int) -> list[object]:
            here = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*here, full.getsockname()), (*here, ("127.0.0.1", service.port))]

        network = Network(None, None, BoundedBackend(both))
        url = f"http://localhost:{service.port}/client/v4"
        with first, second, connected(url, network, PATIENT).with_allowance(5) as api, at_most(PATIENT):
            assert api.get_job(JOB_ID).job_id == JOB_ID


def test_what_a_peer_hardly_takes_is_not_sent_for_ever() -> None:
    def hard_of_hearing(caller: Caller) -> None:
        while caller.connection.recv(1) and not caller.over.wait(0.01):
            pass

    with peer(hard_of_hearing) as slow:
        stream = BoundedBackend().connect_tcp("127.0.0.1", slow.port)
        with Exchange(0.2, 0.2).under_way(), at_most(0.2), pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x" * 50_000_000, timeout=30)
        stream.close()


def test_the_limits_are_those_of_the_part_under_way() -> None:
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
