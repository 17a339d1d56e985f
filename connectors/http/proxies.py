"""Selects the proxy for a URL from HTTPS_PROXY, ALL_PROXY and NO_PROXY, as curl does.

HTTP_PROXY is ignored, because every connection to another machine uses https. Connections to this machine use no proxy.
A variable in lower case takes precedence over the same in upper case. Entries of NO_PROXY in an unknown form are
ignored, because other programs use the variable too. A proxy that can't be used is an error only if it is needed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import getproxies

from core.errors import ConnectionSettingsError
from core.installation import command_to_add
from core.service_url import ascii_host

# The default port of each scheme, as in curl.
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

# RFC 1929: the length is one byte.
LONGEST_SOCKS_CREDENTIAL = 255

_OF_THE_SYSTEM = "the proxy in the system's network settings"


@dataclass(frozen=True)
class Proxy:
    """A proxy. scheme: a key of PORTS. credentials: user name and password."""

    scheme: str
    host: str
    port: int
    credentials: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def is_socks(self) -> bool:
        return self.scheme.startswith("socks")


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an https URL, or None for a direct connection.

    Raises: ConnectionSettingsError that names the variable but never its value, which may contain a password.
    """
    variable, value = _setting(environment)
    parts, (_, exceptions) = urlsplit(url), _read_variable(environment, "NO_PROXY")
    host, port = ascii_host(parts.hostname or ""), parts.port or 443
    if not value or any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", exceptions.lower()) if entry):
        return None
    try:
        proxy = _parse(value)
    except ValueError as error:
        raise ConnectionSettingsError(f"{variable}: {error}") from None
    if proxy.is_socks and find_spec("socksio") is None:
        raise ConnectionSettingsError(
            f"{variable}: a SOCKS proxy needs the extra `socks` (socksio), which is not installed",
            help=f"Nothing was sent. Install the extra: {command_to_add('socks')}",
        )
    return proxy


def _setting(environment: Mapping[str, str]) -> tuple[str, str]:
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        variable, value = _read_variable(environment, name)
        if value:
            return variable, value
    if sys.platform == "darwin" and environment is os.environ:
        return _OF_THE_SYSTEM, getproxies().get("https", "")
    return "", ""


def _read_variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the spelling of the variable that takes precedence, and its value. Lower case wins even if empty."""
    for variable in (name.lower(), name):
        if variable in environment:
            return variable, environment[variable].strip()
    return name, ""


def _parse(value: str) -> Proxy:
    """Return the proxy of a setting. Raises: ValueError that names the problem but does not quote the value."""
    scheme, separator, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if separator else ("http", value)
    if scheme not in PORTS:
        raise ValueError("is not a valid proxy: its URL must begin with http://, https://, socks5:// or socks5h://")
    # A password may contain characters that end an authority. After the last @ there is no password.
    login, at, place = rest.rpartition("@")
    place, *behind = re.split(r"[/?#]", place, maxsplit=1)
    if not separator and any(behind):
        # `http:/proxy:3128` would be a host named http.
        raise ValueError("is not a valid proxy: its URL needs :// after the scheme")
    host, port = _host_and_port(place)
    if host is None:
        raise ValueError("has an invalid host or port: put an IPv6 address in brackets; a port is from 1 to 65535")
    if not host:
        raise ValueError("has no host")
    name, _, password = login.partition(":")
    credentials = (_decode(name), _decode(password)) if at else None
    if scheme.startswith("socks") and max(map(len, credentials or ()), default=0) > LONGEST_SOCKS_CREDENTIAL:
        raise ValueError(f"has a user name or password of more than {LONGEST_SOCKS_CREDENTIAL} bytes")
    return Proxy(scheme, ascii_host(host), port or PORTS[scheme], credentials)


def _decode(text: str) -> bytes:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _host_and_port(place: str) -> tuple[str | None, int | None]:
    """Return the host, with its brackets, and the port, if any; (None, None) for an invalid text."""
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?", place, re.ASCII)
    if match is None:
        return None, None
    port = int(match[2]) if match[2] else None
    if port is not None and not 1 <= port <= 65_535:
        return None, None
    return match[1], port


def _covers(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY matches this host. An entry in an unknown form matches no host."""
    if entry == "*":
        return True
    scheme, separator, rest = entry.partition("://")
    if separator:
        if scheme not in ("https", "all"):
            return False
        entry = rest.rstrip("/")
    with suppress(ValueError):
        # An IP address or a network, with or without brackets.
        network = re.sub(r"^\[([^\[\]]*)\](?=/|$)", r"\1", entry)
        return _is_in(host, ipaddress.ip_network(network, strict=False))
    named, only_port = _host_and_port(entry)
    if named is None or (only_port is not None and only_port != port):
        return False
    with suppress(ValueError):
        return _is_in(host, ipaddress.ip_network(named.strip("[]")))
    below = named.startswith((".", "*."))
    with suppress(ValueError):
        domain = ascii_host(named.lstrip("*").removeprefix("."))
        return host.endswith(f".{domain}") or (host == domain and not below)
    return False


def _is_in(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    # A name is not resolved for this: possibly only the proxy can resolve it.
    with suppress(ValueError):
        return ipaddress.ip_address(host) in network
    return False
