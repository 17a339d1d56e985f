"""Settings: their sources, their validation, and that secrets appear nowhere."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from connectors.connection import Connection, environment_variables
from connectors.email_security import EmailSecurity
from core.errors import AuthenticationFailed, ConnectionSettingsError, PackError
from tests.connectors.scripted import ACCOUNT

SECRET = "s3cret-token-value-0123456789"
GOOD = {"CLOUDFLARE_API_TOKEN": SECRET, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}


def read(**changes: str) -> Connection:
    return Connection.from_environment({**GOOD, **changes})


def test_token_and_account_are_the_only_required_settings() -> None:
    connection = read()
    assert connection.base_url == "https://api.cloudflare.com/client/v4"
    assert connection.auth_headers() == {"Authorization": f"Bearer {SECRET}"}


@pytest.mark.shows_tokens("it mounts the token as a file")
def test_each_setting_can_come_from_a_mounted_file(tmp_path: Path) -> None:
    for name, value in {**GOOD, "CLOUDFLARE_BASE_URL": "http://127.0.0.1:9/client/v4"}.items():
        (tmp_path / name).write_text(value + "\n")
    connection = Connection.from_environment(
        {f"{name}_FILE": str(tmp_path / name) for name in [*GOOD, "CLOUDFLARE_BASE_URL"]}
    )
    assert connection.secrets() == [SECRET]
    assert connection.base_url == "http://127.0.0.1:9/client/v4"


def test_a_setting_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("other")
    with pytest.raises(ConnectionSettingsError, match="both set"):
        read(CLOUDFLARE_API_TOKEN_FILE=str(tmp_path / "token"))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_an_unusable_secret_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConnectionSettingsError, match="CLOUDFLARE_API_TOKEN_FILE"):
        Connection.from_environment({"CLOUDFLARE_API_TOKEN_FILE": str(path), "CLOUDFLARE_ACCOUNT_ID": ACCOUNT})


def test_missing_credentials_are_an_authentication_failure_that_names_the_setting() -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        Connection.from_environment({"CLOUDFLARE_ACCOUNT_ID": ACCOUNT})
    assert caught.value.exit_code == 4
    assert "CLOUDFLARE_API_TOKEN" in caught.value.help


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLOUDFLARE_ACCOUNT_ID", "a" * 33),
        ("CLOUDFLARE_ACCOUNT_ID", "../zones"),
        ("CLOUDFLARE_BASE_URL", "http://api.cloudflare.com/client/v4"),
        ("CLOUDFLARE_BASE_URL", "http://127.0.0.1.evil.example/"),
        ("CLOUDFLARE_BASE_URL", "http://localhost@evil.example/"),
        ("CLOUDFLARE_BASE_URL", "https://user:pass@api.cloudflare.com/"),
        ("CLOUDFLARE_BASE_URL", "https://api.cloudflare.com/?x=1"),
        ("CLOUDFLARE_BASE_URL", "ftp://127.0.0.1/"),
        ("CLOUDFLARE_BASE_URL", "https://"),
        ("CLOUDFLARE_BASE_URL", "https://[::1"),
        ("CLOUDFLARE_BASE_URL", "https://a b/"),
        ("CLOUDFLARE_API_TOKEN", "two words"),
        ("CLOUDFLARE_API_TOKEN", "line\nbreak"),
        ("CLOUDFLARE_API_TOKEN", "ümlaut"),
        ("CLOUDFLARE_API_KEY", "key-without-email"),
        ("CFES_REQUEST_TIMEOUT_SECONDS", "soon"),
        ("CFES_REQUEST_TIMEOUT_SECONDS", "-1"),
        ("CFES_RATE_SHARE", "2"),
    ],
)
def test_an_invalid_setting_is_named_without_its_value(variable: str, value: str) -> None:
    environment = {**GOOD, variable: value}
    if variable == "CLOUDFLARE_API_KEY":
        del environment["CLOUDFLARE_API_TOKEN"]
    with pytest.raises(ConnectionSettingsError, match=variable) as caught:
        Connection.from_environment(environment)
    shown = str(caught.value.document())
    assert caught.value.exit_code == 2
    assert SECRET not in shown
    assert value not in shown or value in ("2", "-1")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("CFES_PLAN_KEY", "short", "has fewer than 32 characters; `cfes policy init DIR` creates a key"),
        ("CFES_PLAN_KEY", "k" * 4097, "has more than 4096 characters"),
        ("CFES_READ_ONLY", "maybe", "must be true or false"),
    ],
)
def test_a_settings_error_names_the_fix(variable: str, value: str, problem: str) -> None:
    with pytest.raises(ConnectionSettingsError) as caught:
        Connection.from_environment({**GOOD, variable: value})
    assert str(caught.value) == f"{variable}: {problem}"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
def test_plain_http_is_accepted_for_loopback_only(host: str) -> None:
    assert read(CLOUDFLARE_BASE_URL=f"http://{host}:8080/client/v4/").base_url == f"http://{host}:8080/client/v4"


def test_a_missing_account_is_named() -> None:
    with pytest.raises(ConnectionSettingsError, match="CLOUDFLARE_ACCOUNT_ID: is not set"):
        Connection.from_environment({"CLOUDFLARE_API_TOKEN": SECRET})


def test_no_repr_and_no_dump_shows_a_secret() -> None:
    connection = read()
    for shown in (repr(connection), str(connection), str(connection.model_dump()), connection.model_dump_json()):
        assert SECRET not in shown


def test_an_invalid_proxy_or_certificate_setting_is_an_error_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://user:proxy-password@proxy")
    with pytest.raises(ConnectionSettingsError, match="HTTPS_PROXY") as caught:
        EmailSecurity(read())
    assert "proxy-password" not in str(caught.value.document())
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(ConnectionSettingsError, match="SSL_CERT_FILE"):
        EmailSecurity(read())


def test_a_loopback_service_is_called_without_the_configured_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    with (
        EmailSecurity(
            read(CLOUDFLARE_BASE_URL="http://127.0.0.1:9/client/v4", CFES_CALL_ALLOWANCE_SECONDS="0.01")
        ) as api,
        pytest.raises(PackError, match="ConnectError"),
    ):
        api.get_job("7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d")


def test_every_setting_names_its_environment_variable() -> None:
    assert set(environment_variables()) == set(Connection.model_fields)


def test_an_error_pickles_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectionSettingsError) as caught:
        read(CLOUDFLARE_ACCOUNT_ID="a" * 33)
    assert SECRET.encode() not in pickle.dumps((caught.value.args, caught.value.__dict__))
    assert SECRET not in caplog.text
