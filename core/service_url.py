"""Checks the URL of a service: http(s), with a host that DNS can resolve."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from core.characters import idna

LONGEST_URL = 2048
LONGEST_HOST = 253
LONGEST_LABEL = 63


def check_service_url(url: str, *, query: bool = False) -> SplitResult:
    """Return the parts of an https URL, or of an http URL of this machine.

    query: whether a query is allowed. Raises: ValueError that names the problem but does not quote the URL.
    """
    if len(url) > LONGEST_URL:
        raise ValueError(f"has more than {LONGEST_URL} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\x00-\x20\x7f\s\\]", url):
        raise ValueError("is not an http(s) URL")
    if parts.username is not None or (parts.query and not query) or parts.fragment:
        raise ValueError("must not have a user name, a query or a fragment")
    if port == 0:
        raise ValueError("has port 0")
    host = ascii_host(f"[{parts.hostname}]" if "[" in parts.netloc else parts.hostname)
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("is plain http to another machine, which sends data unencrypted: use https")
    return parts


def with_ascii_host(parts: SplitResult) -> str:
    """Return the URL with an international host in its `xn--` form."""
    host = parts.hostname or ""
    if host.isascii():
        return parts.geturl()
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=ascii_host(host) + port).geturl()


def ascii_host(host: str) -> str:
    """Return a host as DNS resolves it: lower case, international names as `xn--`, IP addresses without brackets.

    Raises: ValueError that names the problem but does not quote the host.
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if ":" in bare or bare != host:
            raise ValueError("has a host that is not a valid IP address") from None
    else:
        if "%" in bare:
            raise ValueError("has an IP address with a zone, which is not supported")
        return str(address)
    try:
        name = host.lower() if host.isascii() else idna().encode(host, uts46=True).decode("ascii")
    except UnicodeError:
        raise ValueError("has a host that is not a valid international name") from None
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > LONGEST_HOST:
        raise ValueError(f"has a host of more than {LONGEST_HOST} characters")
    if max(map(len, labels)) > LONGEST_LABEL:
        raise ValueError(f"has a host with a label of more than {LONGEST_LABEL} characters")
    if not all(re.fullmatch(r"[a-z0-9_-]+", label, re.ASCII) for label in labels):
        raise ValueError("has a host that is not a valid name")
    return name


def is_loopback(host: str) -> bool:
    """Return whether `host` is certainly this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
