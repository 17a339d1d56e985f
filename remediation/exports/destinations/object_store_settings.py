"""How a store is reached: its own usual environment variables, as obstore reads them, and what is held against them.

An endpoint is https, or plain http on this machine; no variable opens plain http to another one. Every request ends
within a known time.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from core.errors import ConnectionSettingsError
from core.service_url import check_service_url, is_loopback
from core.version import VERSION
from remediation.exports.destinations.object_url import Scheme

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# In the order in which they count; the first of s3 is the one that AWS's own tools put first.
ENDPOINTS: dict[Scheme, tuple[str, ...]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
# Where credentials are exchanged: these too would be opened by an endpoint on this machine.
_EXCHANGES = ("AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT", "AZURE_STORAGE_AUTHORITY_HOST", "AZURE_AUTHORITY_HOST")
# Where a machine in a cloud asks for its own credentials: over plain http, of an address that no router hands on.
_OF_THE_MACHINE = (
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_METADATA_ENDPOINT", "AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT",
    "MSI_ENDPOINT", "IDENTITY_ENDPOINT",
)  # fmt: skip

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0
# What even a bad line carries: a request with a body may take so much longer.
SLOWEST_BYTES_A_SECOND = 1 << 19

# Within one try of remediation.exports.destinations.object_store; a part of an upload is tried for longer, since the
# next try sends them all.
MOST_RETRIES = 2
MOST_PART_RETRIES = 12
# No further try after this: a store that does not answer at all has failed after at most so long and one request more.
RETRY_SECONDS = 45.0
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0


class Endpoint(NamedTuple):
    """Where requests go; url: None for the store's own."""

    url: str | None
    loopback: bool

    def is_of(self, bucket: str) -> bool:
        """Whether its host's name begins with the bucket's, as in https://bucket.store.example."""
        return self.url is not None and (urlsplit(self.url).hostname or "").startswith(f"{bucket}.")


def endpoint(scheme: Scheme, environment: Mapping[str, str] | None = None) -> Endpoint:
    """The endpoint that the environment sets.

    Raises:
        ConnectionSettingsError: a variable holds no URL, or one that is plain http to another machine. It is named,
            its value is not.
    """
    # obstore takes the part behind the first underscore in any case.
    given = {n.upper(): v for n, v in (os.environ if environment is None else environment).items() if v}
    found = [_checked(name, given[name]) for name in ENDPOINTS[scheme] if name in given]
    for name in _EXCHANGES:
        if name in given and "://" in given[name]:
            _checked(name, given[name])
    for name in _OF_THE_MACHINE:
        if name in given and not _is_link_local(given[name]):
            _checked(name, given[name], query=True)
    return Endpoint(found[0], is_loopback(urlsplit(found[0]).hostname or "")) if found else Endpoint(None, False)


def _is_link_local(url: str) -> bool:
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_link_local
    except ValueError:
        return False


def _checked(name: str, url: str, *, query: bool = False) -> str:
    try:
        check_service_url(url, query=query)
    except ValueError as error:
        raise ConnectionSettingsError(f"{name}: {error}") from None
    return url


def client_options(place: Endpoint, size: int) -> ClientConfig:
    """For requests that carry up to `size` bytes. What is set here counts, whatever the environment says."""
    options: ClientConfig = {
        "allow_http": place.loopback,
        "allow_invalid_certificates": False,
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=REQUEST_SECONDS + size / SLOWEST_BYTES_A_SECOND),
        "user_agent": f"cloudflare-email-security-pack/{VERSION}",
    }
    if place.loopback and place.url is not None:
        # Called directly: over plain http a proxy would read everything. Named, because only then the environment's
        # proxy is left out, and never called.
        options["proxy_url"] = "http://127.0.0.1:9"
        options["proxy_excludes"] = (urlsplit(place.url).hostname or "").strip("[]")
    return options


def retry_config(retries: int) -> RetryConfig:
    """Retried are connections that fail, 5xx, and timeouts of what may be sent twice."""
    return {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        "backoff": {
            "init_backoff": timedelta(seconds=FIRST_BACKOFF_SECONDS),
            "max_backoff": timedelta(seconds=LONGEST_BACKOFF_SECONDS),
            "base": 2,
        },
    }
