"""SOCKS5 proxies: a real one on loopback, and ones that are slow, refuse, or send invalid responses."""

from __future__ import annotations

import socket
import time

import pytest

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.network import Network
from connectors.http.proxies import proxy_for
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from core.errors import NotReceived
from tests.connectors.scripted import ACCOUNT, JOB_ID, TOKEN
from tests.connectors.slow_peers import Caller, Peer, Talk, answer_with_job, client_context, over_tls, peer, relay

REQUEST = BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=SearchParams(sender="a@phish.example"))

PASSWORD = "socks-password-that-must-never-show"


class SocksServer:
    """A minimal SOCKS5 server (RFC 1928 and 1929). `requested_hosts` lists the requested hosts."""

    def __init__(self, service: Peer, credentials: tuple[bytes, bytes] | None = None) -> None:
        self.requested_hosts: list[bytes] = []
        self._service = service
        self._credentials = credentials

    def __call__(self, caller: Caller) -> None:
        _, count = read_exactly(caller, 2)
        methods = read_exactly(caller, count)
        if self._credentials is None:
            caller.send(b"\x05\x00" if 0 in methods else b"\x05\xff")
        else:
            caller.send(b"\x05\x02" if 2 in methods else b"\x05\xff")
            if not self._authenticated(caller):
                return
        _, _, _, kind = read_exactly(caller, 4)
        assert kind == 3, "the proxy is to resolve the name"
        self.requested_hosts.append(read_exactly(caller, read_exactly(caller, 1)[0]))
        read_exactly(caller, 2)
        with socket.create_connection(("127.0.0.1", self._service.port)) as onward:
            caller.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
            relay(caller.connection, onward)

    def _authenticated(self, caller: Caller) -> bool:
        read_exactly(caller, 1)
        found = tuple(read_exactly(caller, read_exactly(caller, 1)[0]) for _ in range(2))
        caller.send(b"\x01\x00" if found == self._credentials else b"\x01\x01")
        return found == self._credentials


def read_exactly(caller: Caller, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = caller.connection.recv(size - len(received))
        if not more:
            raise ConnectionError
        received += more
    return received


def connected(proxy: str, read_timeout: float = 10) -> EmailSecurity:
    url = "https://service.example/client/v4"
    settings = {
        "account_id": ACCOUNT,
        "api_token": TOKEN,
        "base_url": url,
        "request_timeout_seconds": read_timeout,
        "call_allowance_seconds": 0.1,
    }
    network = Network(client_context(), proxy_for(url, {"ALL_PROXY": proxy}))
    return EmailSecurity(Connection.checked(settings), http=network)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_is_used_and_resolves_the_name(scheme: str) -> None:
    with peer(over_tls(answer_with_job)) as service:
        server = SocksServer(service)
        with peer(server) as proxy, connected(f"{scheme}://127.0.0.1:{proxy.port}") as api:
            assert [api.get_job(JOB_ID).job_id for _ in range(3)] == [JOB_ID] * 3
    assert server.requested_hosts == [b"service.example"]


def test_user_name_and_password_are_sent() -> None:
    with peer(over_tls(answer_with_job)) as service:
        server = SocksServer(service, (b"ana", b"p@ss"))
        with peer(server) as proxy:
            with connected(f"socks5://ana:p%40ss@127.0.0.1:{proxy.port}") as api:
                assert api.get_job(JOB_ID).job_id == JOB_ID
            with connected(f"socks5://ana:{PASSWORD}@127.0.0.1:{proxy.port}") as api:
                assert_not_received(api)


def assert_not_received(api: EmailSecurity) -> None:
    """Assert that a create certainly did not reach the service."""
    with pytest.raises(NotReceived) as caught:
        api.create_job(REQUEST)
    assert caught.value.applied == "no"
    assert PASSWORD not in str(caught.value.document())


def send_replies(*replies: bytes) -> Talk:
    def talk(caller: Caller) -> None:
        for reply in replies:
            caller.connection.recv(4096)
            caller.send(reply)
        caller.connection.recv(4096)

    return talk


@pytest.mark.parametrize(
    "replies",
    [
        (),
        (b"",),
        (b"\x05\xff",),
        (b"\x05",),
        (b"\x04\x00",),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\x05\x02", b"\x01\x01"),
        (b"\x05\x00", b"\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"),
        (b"\x05\x00", b"\x05\x99\x00\x01\x00\x00\x00\x00\x00\x00"),
        (b"\x05\x00", b"\x05\x00\x00\x09"),
        (b"\x05\x00", b"\x05\x00\x00\x01\x7f"),
        (b"\x05\x00", b"\x00" * 4096),
    ],
)
def test_a_refusing_or_invalid_socks_proxy_is_a_failed_connection(replies: tuple[bytes, ...]) -> None:
    with (
        peer(send_replies(*replies)) as proxy,
        connected(f"socks5://ana:{PASSWORD}@127.0.0.1:{proxy.port}", 0.2) as api,
    ):
        assert_not_received(api)
    with peer(send_replies(*replies)) as proxy, connected(f"socks5://127.0.0.1:{proxy.port}", 0.2) as api:
        assert_not_received(api)


def test_a_silent_socks_proxy_times_out() -> None:
    def silent(caller: Caller) -> None:
        while caller.connection.recv(4096):
            pass

    with peer(silent) as proxy, connected(f"socks5://127.0.0.1:{proxy.port}", 0.2) as api:
        began = time.monotonic()
        assert_not_received(api)
        assert time.monotonic() - began < 2
