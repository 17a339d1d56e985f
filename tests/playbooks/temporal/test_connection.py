"""Connections with TLS and a client certificate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from playbooks.drivers.temporal.client import Runs
from playbooks.drivers.temporal.connection import connect
from playbooks.drivers.temporal.settings import TemporalSettings
from playbooks.language.errors import TemporalUnavailable
from tests.playbooks.temporal.servers import ROOT, Fleet

NOW = datetime.now(UTC)


class Certificate:
    """A certificate for 127.0.0.1 and its key, both PEM. issuer: its CA; None for a CA."""

    def __init__(self, issuer: Certificate | None = None) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA" if issuer is None else "127.0.0.1")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name((issuer or self).name)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        )
        self.text = builder.sign((issuer or self).private, SHA256()).public_bytes(Encoding.PEM).decode()
        key = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key = SecretStr(key.decode())


CA = Certificate()
SERVER, CLIENT = Certificate(CA), Certificate(CA)


@pytest.fixture
def tls_port(fleet: Fleet, tmp_path: Path) -> Iterator[int]:
    """The port of a front with TLS before the server. It requires a client certificate."""
    certificate, ca = tmp_path / "server.pem", tmp_path / "ca.pem"
    certificate.write_text(SERVER.text + SERVER.key.get_secret_value())
    ca.write_text(CA.text)
    command = [sys.executable, "-m", "tests.playbooks.temporal.tls_front", str(fleet.server.port)]
    command += [str(certificate), str(ca)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as front:
        assert front.stdin is not None
        assert front.stdout is not None
        yield int(front.stdout.readline())
        front.stdin.close()


def settings(port: int, ca: Certificate = CA, client: Certificate | None = None) -> TemporalSettings:
    certificate = {} if client is None else {"tls_cert": client.text, "tls_key": client.key}
    return TemporalSettings.model_validate(
        {"address": f"127.0.0.1:{port}", "tls": "on", "tls_ca": ca.text, **certificate}
    )


def test_a_client_certificate_opens_the_server(fleet: Fleet, tls_port: int) -> None:
    given = settings(tls_port, client=CLIENT).model_copy(update={"task_queue": fleet.settings.task_queue})
    assert fleet.call(Runs(fleet.call(connect(given)), given).list()) == []


def test_a_refused_connection_names_the_setting(fleet: Fleet, tls_port: int) -> None:
    with pytest.raises(TemporalUnavailable, match="CFES_TEMPORAL_TLS_CERT"):
        fleet.call(connect(settings(tls_port)))
    with pytest.raises(TemporalUnavailable, match="CFES_TEMPORAL_TLS_CA"):
        fleet.call(connect(settings(tls_port, ca=Certificate())))
    with pytest.raises(TemporalUnavailable, match="it does not use TLS"):
        fleet.call(connect(settings(fleet.server.port)))
