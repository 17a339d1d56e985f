"""Settings of an object store: its usual environment variables, as obstore reads them, and their checks.

An endpoint must be https; plain http is allowed only to this machine, whatever the environment sets. Every request ends
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

# In order of precedence; for s3 the same first variable as in AWS's own tools.
ENDPOINTS: dict[Scheme, tuple[str, ...]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
# Endpoints for exchanging credentials. A loopback endpoint would allow plain http for these too.
_CREDENTIAL_EXCHANGES = (
    "AWS_ENDPOINT_URL_STS",
    "AWS_STS_ENDPOINT",
    "AZURE_STORAGE_AUTHORITY_HOST",
    "AZURE_AUTHORITY_HOST",
)
# Endpoints where a cloud machine gets its own credentials: plain http to a link-local address.
_MACHINE_CREDENTIALS = (
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_METADATA_ENDPOINT", "AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT",
    "MSI_ENDPOINT", "IDENTITY_ENDPOINT",
)  # fmt: skip

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0
# The speed of a bad connection. A request with a body may take longer in proportion.
SLOWEST_BYTES_A_SECOND = 1 << 19

# Retries within one try of remediation.exports.destinations.object_store. A part of an upload has more, because the
# next try sends all parts again.
MOST_RETRIES = 2
MOST_PART_RETRIES = 12
# No further retry after this time. An unresponsive store fails after at most this time and one more request.
RETRY_SECONDS = 45.0
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0


class Endpoint(NamedTuple):
    """The endpoint for requests; url: None for the store's own."""

    url: str | None
    loopback: bool

    def is_of(self, bucket: str) -> bool:
        """Return whether the host name begins with the bucket's, as in https://bucket.store.example."""
        return self.url is not None and (urlsplit(self.url).hostname or "").startswith(f"{bucket}.")


def endpoint(scheme: Scheme, environment: Mapping[str, str] | None = None) -> Endpoint:
    """Return the endpoint that the environment sets.

    Raises:
        ConnectionSettingsError: a variable is not a URL, or is plain http to another machine. The error has its name
            and not its value.
    """
    # obstore ignores case after the first underscore.
    given = {n.upper(): v for n, v in (os.environ if environment is None else environment).items() if v}
    found = [_checked(name, given[name]) for name in ENDPOINTS[scheme] if name in given]
    for name in _CREDENTIAL_EXCHANGES:
        if name in given and "://" in given[name]:
            _checked(name, given[name])
    for name in _MACHINE_CREDENTIALS:
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
    """Return the options for requests of up to `size` bytes. They take precedence over the environment."""
    options: ClientConfig = {
        "allow_http": place.loopback,
        "allow_invalid_certificates": False,
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=REQUEST_SECONDS + size / SLOWEST_BYTES_A_SECOND),
        "user_agent": f"cloudflare-email-security-pack/{VERSION}",
    }
    if place.loopback and place.url is not None:
        # Over plain http a proxy would read everything, so requests go directly. A named proxy with an exclusion is the
        # only way to bypass the environment's proxy. It is never called.
        options["proxy_url"] = "http://127.0.0.1:9"
        options["proxy_excludes"] = (urlsplit(place.url).hostname or "").strip("[]")
    return options


def retry_config(retries: int) -> RetryConfig:
    """Return the retry settings: for failed connections, 5xx, and timeouts of idempotent requests."""
    return {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        "backoff": {
            "init_backoff": timedelta(seconds=FIRST_BACKOFF_SECONDS),
            "max_backoff": timedelta(seconds=LONGEST_BACKOFF_SECONDS),
            "base": 2,
        },
    }
