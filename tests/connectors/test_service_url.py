"""The URL of a service: valid ones, and those that are refused before a DNS lookup."""

from __future__ import annotations

import pytest

from connectors.connection import Connection
from core.errors import ConnectionSettingsError
from core.service_url import ascii_host, check_service_url
from remediation.exports.destinations.object_store_settings import endpoint
from tests.connectors.scripted import ACCOUNT, TOKEN

REFUSED = [
    f"https://{'a' * 64}.example/client/v4",
    f"https://ü{'a' * 63}.example/",
    f"https://{'a.' * 130}example/",
    "https://a..example/",
    "https://.example/",
    "https://exa mple/",
    "https://exam\x00ple/",
    "https://example/\x7f",
    "https://ex*mple/",
    "https://ex%61mple/",
    "https://example:0/",
    "https://example:65536/",
    "https://example:-1/",
    "https://example:port/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[v1.x]/",
    "https://\udcff.example/",
    "https://xn--\u0001.example/",
    "https://user@example/",
    "https://@example/",
    "https://example/?q",
    "https://example/#f",
    "https:///path",
    "https:example",
    "//example/",
    "example.com",
    "ftp://example/",
    "http://example/",
    "http://127.1/",
    "http://localhost.example/",
    "https://example/" + "a" * 3000,
]


@pytest.mark.parametrize("url", REFUSED)
def test_an_invalid_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|must) ") as caught:
        check_service_url(url)
    assert url not in str(caught.value)
    with pytest.raises(ConnectionSettingsError, match=r"^CLOUDFLARE_BASE_URL: ") as refused:
        Connection.checked({"account_id": ACCOUNT, "api_token": TOKEN, "base_url": url})
    assert refused.value.exit_code == 2
    with pytest.raises(ConnectionSettingsError, match=r"^AWS_ENDPOINT_URL: "):
        endpoint("s3", {"AWS_ENDPOINT_URL": url})


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("https://api.cloudflare.com/client/v4/", "https://api.cloudflare.com/client/v4"),
        (f"https://{'a' * 63}.example/v4", f"https://{'a' * 63}.example/v4"),
        ("https://bücher.example:8443/v4", "https://xn--bcher-kva.example:8443/v4"),
        ("https://ＡＰＩ.example/v4", "https://api.example/v4"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://my_gateway.corp", "https://my_gateway.corp"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_a_valid_url_is_accepted(url: str, used: str) -> None:
    assert Connection.checked({"account_id": ACCOUNT, "api_token": TOKEN, "base_url": url}).base_url == used


@pytest.mark.parametrize(
    ("host", "found"), [("EXAMPLE.", "example"), ("[2001:DB8:0::1]", "2001:db8::1"), ("10.0.0.1", "10.0.0.1")]
)
def test_a_host_is_normalized(host: str, found: str) -> None:
    assert ascii_host(host) == found
