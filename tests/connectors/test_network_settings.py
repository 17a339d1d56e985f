"""The network settings are used: proxies, exceptions to them, and certificates."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from core.errors import ConnectionSettingsError, NotReceived
from tests.connectors.scripted import ACCOUNT, JOB_ID, TOKEN, envelope, job

TLS = Path(__file__).parent / "loopback_tls"


class Listener:
    """Accepts connections one by one, records the first bytes of each, and sends `answer`."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self.received: list[bytes] = []
        self.answer_bytes = answer
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            try:
                plain.settimeout(5)
                with self._context.wrap_socket(plain, server_side=True) if self._context else plain as connection:
                    self.received.append(connection.recv(65_536))
                    connection.sendall(self.answer_bytes)
            except OSError:
                continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@contextmanager
def listening(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[Listener]:
    listener = Listener(answer, context)
    try:
        yield listener
    finally:
        listener.close()


def connected(base_url: str) -> EmailSecurity:
    settings = {"account_id": ACCOUNT, "api_token": TOKEN, "base_url": base_url, "call_allowance_seconds": 0.01}
    return EmailSecurity(Connection.checked(settings))


def test_https_uses_a_proxy_tunnel_that_does_not_see_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with connected("https://api.service.example/client/v4") as api, pytest.raises(NotReceived, match="ProxyError"):
            api.get_job(JOB_ID)
        assert proxy.received[0].startswith(b"CONNECT api.service.example:443 HTTP/1.1")
        assert TOKEN.encode() not in b"".join(proxy.received)


def test_a_host_in_no_proxy_is_called_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "service.invalid")
        with connected("https://service.invalid/client/v4") as api, pytest.raises(NotReceived, match="ConnectError"):
            api.get_job(JOB_ID)
        assert proxy.received == []


@pytest.fixture
def https_service() -> Iterator[Listener]:
    """A service on loopback with a self-signed certificate."""
    import json  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "test_only_key.pem")
    body = json.dumps(envelope(job())).encode()
    with listening(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body), context) as service:
        yield service


def test_a_self_signed_certificate_is_refused_before_the_token_is_sent(https_service: Listener) -> None:
    url = f"https://127.0.0.1:{https_service.port}/client/v4"
    with connected(url) as api, pytest.raises(NotReceived, match="certificate") as caught:
        api.get_job(JOB_ID)
    assert "SSL_CERT_FILE" in caught.value.help
    assert https_service.received == []


def test_ssl_cert_file_adds_a_certificate_authority(https_service: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "certificate.pem"))
    with connected(f"https://127.0.0.1:{https_service.port}/client/v4") as api:
        assert api.get_job(JOB_ID).job_id == JOB_ID


def write_certificates(directory: Path, *names: str) -> Path:
    directory.mkdir()
    for name in names:
        (directory / name).write_bytes((TLS / "certificate.pem").read_bytes())
    return directory


def hash_name() -> str:
    shown = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(TLS / "certificate.pem")],  # noqa: S607 -- as a person would
        capture_output=True,
        check=True,
        text=True,
    )
    return f"{shown.stdout.strip()}.0"


def test_ssl_cert_dir_adds_a_certificate_authority(
    https_service: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    several = f"{write_certificates(tmp_path / 'none')}{os.pathsep}{write_certificates(tmp_path / 'one', hash_name())}"
    monkeypatch.setenv("SSL_CERT_DIR", several)
    with connected(f"https://127.0.0.1:{https_service.port}/client/v4") as api:
        assert api.get_job(JOB_ID).job_id == JOB_ID


@pytest.mark.parametrize("kind", ["missing", "garbage", "empty", "a key", "a directory", "not allowed"])
def test_an_unusable_ssl_cert_file_is_named(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if kind == "a directory":
        path.mkdir()
    elif kind != "missing":
        content = {"garbage": b"\xff\x00garbage", "a key": (TLS / "test_only_key.pem").read_bytes()}
        path.write_bytes(content.get(kind, b""))
    if kind == "not allowed":
        path = Path("a" * 300)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConnectionSettingsError, match=r"^SSL_CERT_FILE: ") as caught:
        connected("https://service.example/client/v4")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("kind", ["missing", "empty", "a file", "names without hashes"])
def test_an_unusable_ssl_cert_dir_is_named(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "certs"
    if kind == "a file":
        path.write_bytes(b"")
    elif kind != "missing":
        write_certificates(path, *(["ca.pem"] if kind == "names without hashes" else []))
    monkeypatch.setenv("SSL_CERT_DIR", str(path))
    with pytest.raises(ConnectionSettingsError, match=r"^SSL_CERT_DIR: "):
        connected("https://service.example/client/v4")


def test_an_unusable_ssl_cert_file_is_ignored_for_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    connected("http://127.0.0.1:9/client/v4").close()
