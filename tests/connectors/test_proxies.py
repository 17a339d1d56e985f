"""The choice of a proxy, the exceptions in NO_PROXY, and settings errors that never show the value."""

from __future__ import annotations

import sys

import pytest

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.proxies import Proxy, proxy_for
from core.errors import ConnectionSettingsError
from tests.connectors.scripted import ACCOUNT, TOKEN

URL = "https://api.service.example/client/v4"


def choose_proxy(url: str = URL, **environment: str) -> Proxy | None:
    return proxy_for(url, environment)


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("proxy.example", Proxy("http", "proxy.example", 80)),
        ("proxy.example:3128/", Proxy("http", "proxy.example", 3128)),
        ("HTTP://Proxy.Example:3128/", Proxy("http", "proxy.example", 3128)),
        ("  http://proxy.example:3128\n", Proxy("http", "proxy.example", 3128)),
        ("https://proxy.example", Proxy("https", "proxy.example", 443)),
        ("socks5://proxy.example", Proxy("socks5", "proxy.example", 1080)),
        ("socks5h://proxy.example:9050", Proxy("socks5h", "proxy.example", 9050)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
        ("[2001:DB8::1]:3128", Proxy("http", "2001:db8::1", 3128)),
        ("http://bücher.example:1", Proxy("http", "xn--bcher-kva.example", 1)),
        ("http://ＰＲＯＸＹ.example:1", Proxy("http", "proxy.example", 1)),
        ("http://proxy.example.:1", Proxy("http", "proxy.example", 1)),
        ("http://proxy_1.corp:1", Proxy("http", "proxy_1.corp", 1)),
        ("http://ana:p%40ss@proxy:1", Proxy("http", "proxy", 1, (b"ana", b"p@ss"))),
        ("http://ana:p@s/s#w?o:rd@proxy:1", Proxy("http", "proxy", 1, (b"ana", b"p@s/s#w?o:rd"))),
        ("http://ana:100%@proxy:1", Proxy("http", "proxy", 1, (b"ana", b"100%"))),
        ("http://CORP\\ana:pä\udcff@proxy:1", Proxy("http", "proxy", 1, (b"CORP\\ana", b"p\xc3\xa4\xff"))),
        ("http://ana@proxy:1", Proxy("http", "proxy", 1, (b"ana", b""))),
    ],
)
def test_a_valid_proxy_is_read(value: str, proxy: Proxy) -> None:
    assert choose_proxy(HTTPS_PROXY=value) == proxy
    assert choose_proxy(all_proxy=value) == proxy


PASSWORD = "proxy-password-that-must-never-show"


@pytest.mark.parametrize(
    "value",
    [
        f"nonsense://ana:{PASSWORD}@proxy:1",
        f"socks4://ana:{PASSWORD}@proxy:1",
        f"socks://ana:{PASSWORD}@proxy:1",
        f"://ana:{PASSWORD}@proxy:1",
        f"http:/ana:{PASSWORD}@proxy/path",
        "http:/proxy:3128",
        "http//proxy:3128",
        f"http://ana:{PASSWORD}@proxy:0",
        f"http://ana:{PASSWORD}@proxy:65536",
        f"http://ana:{PASSWORD}@proxy:-1",
        f"http://ana:{PASSWORD}@proxy:port",
        f"http://ana:{PASSWORD}@proxy:٣",
        f"http://ana:{PASSWORD}@",
        f"http://ana:{PASSWORD}@:3128",
        f"http://ana:{PASSWORD}@::1:3128",
        f"http://ana:{PASSWORD}@[::1",
        f"http://ana:{PASSWORD}@[not-an-address]:1",
        f"http://ana:{PASSWORD}@[fe80::1%eth0]:1",
        f"http://ana:{PASSWORD}@pro xy:1",
        f"http://ana:{PASSWORD}@pro\x00xy:1",
        f"http://ana:{PASSWORD}@{'a' * 64}.example:1",
        f"http://ana:{PASSWORD}@{'a.' * 130}example:1",
        f"http://ana:{PASSWORD}@a..b:1",
        f"http://ana:{PASSWORD}@ü{'a' * 63}.example:1",
        f"http://ana:{PASSWORD}@\udcff.example:1",
        f"socks5://ana:{PASSWORD}{'x' * 300}@proxy:1",
        f"socks5://{'x' * 300}:{PASSWORD}@proxy:1",
        "http://",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_an_invalid_proxy_is_reported_without_its_value(value: str, variable: str) -> None:
    with pytest.raises(ConnectionSettingsError) as caught:
        choose_proxy(**{variable: value, "HTTP_PROXY": "http://other:1"})
    document = str(caught.value.document())
    assert caught.value.message.startswith(f"{variable}: ")
    assert caught.value.exit_code == 2
    assert PASSWORD not in document + repr(caught.value)
    assert "HTTP_PROXY" not in document


def test_no_repr_shows_the_password() -> None:
    assert PASSWORD not in repr(choose_proxy(HTTPS_PROXY=f"http://ana:{PASSWORD}@proxy:1"))


def test_the_specific_setting_and_lower_case_take_precedence() -> None:
    assert choose_proxy(HTTPS_PROXY="a:1", ALL_PROXY="b:1") == Proxy("http", "a", 1)
    assert choose_proxy(HTTPS_PROXY="a:1", https_proxy="c:1") == Proxy("http", "c", 1)
    assert choose_proxy(HTTPS_PROXY="a:1", https_proxy="", ALL_PROXY="b:1") == Proxy("http", "b", 1)
    assert choose_proxy(HTTPS_PROXY=" ", ALL_PROXY="") is None
    assert choose_proxy(HTTP_PROXY="a:1", http_proxy="a:1") is None
    assert choose_proxy() is None


@pytest.mark.parametrize(
    ("url", "entries", "direct"),
    [
        (URL, "*", True),
        (URL, "localhost, *", True),
        (URL, "service.example", True),
        (URL, "SERVICE.Example.", True),
        (URL, ".service.example", True),
        (URL, "*.service.example", True),
        (URL, "*service.example", True),
        (URL, "api.service.example", True),
        (URL, "api.service.example:443", True),
        (URL, "api.service.example:8443", False),
        (URL, "https://api.service.example", True),
        (URL, "all://api.service.example/", True),
        (URL, "http://api.service.example", False),
        (URL, "a.example b.example,service.example", True),
        (URL, "i.service.example", False),
        (URL, "service", False),
        (URL, "", False),
        (URL, ",, ,", False),
        ("https://service.example/", ".service.example", False),
        ("https://xn--bcher-kva.example/", "bücher.example", True),
        ("https://10.1.2.3/", "10.0.0.0/8", True),
        ("https://10.1.2.3/", "10.1.2.99/24", True),
        ("https://10.1.2.3/", "11.0.0.0/8", False),
        ("https://10.1.2.3/", "10.1.2.3", True),
        ("https://10.1.2.3:8443/", "10.1.2.3:8443", True),
        ("https://10.1.2.3:8443/", "10.1.2.3:443", False),
        ("https://10.1.2.3/", "::1/128,10.0.0.0/8", True),
        ("https://[2001:db8::7]/", "2001:DB8::/32", True),
        ("https://[2001:db8::7]/", "[2001:db8::]/32", True),
        ("https://[2001:db8::7]/", "2001:db8:0::7", True),
        ("https://[2001:db8::7]/", "[2001:db8::7]", True),
        ("https://[2001:db8::7]:8443/", "[2001:db8::7]:8443", True),
        ("https://[2001:db8::7]/", "[2001:db8::7]:8443", False),
        ("https://[2001:db8::7]/", "10.0.0.0/8", False),
        # Invalid entries, and forms that only other programs read, match no host.
        *((URL, entry, False) for entry in ("::1/128", "10.0.0.0/8", "0.0.0.0/0", "::/0", "[::1", "]", "10.0.0.0/99")),
        *((URL, entry, False) for entry in ("http://", "://", ":", ":443", "<local>", "fe80::1%eth0", "a" * 5000)),
        *(
            (URL, entry, False)
            for entry in ("\udcff", "xn--\udcff", "..", "*.", ".", "a:b:c", "api.service.example:99999")
        ),
        (URL, "169.254/16", False),
    ],
)
def test_no_proxy_exempts_its_hosts_and_is_never_an_error(url: str, entries: str, direct: bool) -> None:
    for variable in ("NO_PROXY", "no_proxy"):
        proxy = choose_proxy(url, **{"HTTPS_PROXY": "proxy:3128", variable: entries})
        assert (proxy is None) is direct


def test_proxy_settings_of_docker_and_orbstack_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://host.docker.internal:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "localhost,127.0.0.1,::1/128,*.orb.local,10.0.0.0/8,fd07:b51a:cc66::/48")
    EmailSecurity(Connection.checked({"account_id": ACCOUNT, "api_token": TOKEN})).close()


def test_an_invalid_proxy_is_ignored_for_an_exempt_host() -> None:
    assert choose_proxy(HTTPS_PROXY="nonsense://x", NO_PROXY="service.example") is None


def test_a_socks_proxy_without_the_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes the import fail.
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ConnectionSettingsError, match=r"ALL_PROXY: .*extra `socks`") as caught:
        choose_proxy(ALL_PROXY="socks5://127.0.0.1:1080")
    assert "pip install" in caught.value.help
