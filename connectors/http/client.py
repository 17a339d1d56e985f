"""The HTTP client of the pack: httpx with limits on the size and the time of a body."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

# On import, httpx imports its command line, and with it rich, click and pygments if they are installed (extra `cli`).
# That costs 60 ms for every action that runs as a process. httpx works without its command line.
_COMMAND_LINE = "httpx._main"
if "httpx" not in sys.modules:
    # For the import system None means "not installed".
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
import httpx as httpx  # noqa: E402, PLC0414 -- after the line above, and for other modules to import from here

if sys.modules.get(_COMMAND_LINE, httpx) is None:
    del sys.modules[_COMMAND_LINE]

from connectors.connection import Connection  # noqa: E402
from connectors.http.certificates import tls_context  # noqa: E402
from connectors.http.network import Network  # noqa: E402
from connectors.http.proxies import proxy_for  # noqa: E402
from core.clock import Deadline  # noqa: E402
from core.service_url import is_loopback  # noqa: E402
from core.version import VERSION  # noqa: E402

USER_AGENT = f"cloudflare-email-security-pack/{VERSION}"

# A page of 1,000 messages has about 3 MB. A larger body is not from this API, or is a decompression bomb.
LARGEST_BODY_BYTES = 64 * 1024 * 1024

LARGEST_PIECE_BYTES = 64 * 1024

# An exchange may take this many times the read timeout, but never longer than its call.
SLOWEST_ANSWER_FACTOR = 4


class BodyTooLarge(httpx.RemoteProtocolError):
    """The body of the response is larger than any body of this API."""


class AnswerTooSlow(httpx.ReadTimeout):
    """The response arrives too slowly."""


class _Client(httpx.Client):
    """A client for streams, without cookies, redirects and authentication flows.

    This API needs none of them, and they take a sixth of the processor time of a call.
    """

    def __init__(self, network: httpx.BaseTransport, **settings: Any) -> None:
        super().__init__(transport=network, **settings)
        self._network = network

    def send(self, request: httpx.Request, **_: Any) -> httpx.Response:
        response = self._network.handle_request(request)
        response.request = request
        return response


def client(connection: Connection, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Return a client for this connection. It uses the proxy and certificate settings and follows no redirect.

    transport: replaces the network. Raises: ConnectionSettingsError if a proxy or certificates can't be used.
    """
    return open_client(
        connection.base_url,
        timeout=connection.request_timeout_seconds,
        headers={"Accept": "application/json", **connection.auth_headers()},
        transport=transport,
    )


def open_client(
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """Return a client for the service at `url`: https, or http of this machine. timeout: seconds for one read.

    It uses the proxy and certificate settings of the environment, and follows no redirect.
    transport: replaces the network. Raises: ConnectionSettingsError if a proxy or certificates can't be used.
    """
    return _Client(
        transport or _network(url, os.environ),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", **(headers or {})},
        timeout=httpx.Timeout(timeout),
        follow_redirects=False,
        trust_env=False,
    )


def _network(url: str, environment: Mapping[str, str]) -> httpx.BaseTransport:
    """Return the network transport. It never uses a proxy for loopback, where plain http would expose credentials."""
    parts = urlsplit(url)
    proxy = None if is_loopback(parts.hostname or "") else proxy_for(url, environment)
    return Network(tls_context(environment) if parts.scheme == "https" else None, proxy)


class _Timed(httpx.SyncByteStream):
    """A body with a deadline, before decoding. A body that decodes to nothing takes time too."""

    def __init__(self, response: httpx.Response, deadline: Deadline) -> None:
        self._stream = response.stream
        self._request = response.request
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for chunk in cast("Iterable[bytes]", self._stream):
            if self._deadline.remaining() < 0:
                raise AnswerTooSlow("the body of the response did not end in time", request=self._request)
            yield chunk

    def close(self) -> None:
        cast("httpx.SyncByteStream", self._stream).close()


def read_body(response: httpx.Response, deadline: Deadline) -> bytearray:
    """Return the decoded body, within the limits of size and time.

    Raises: httpx.HTTPError, including BodyTooLarge and AnswerTooSlow.
    """
    # One growing buffer: joining all chunks at the end would hold them twice in memory.
    body = bytearray()
    for chunk in body_chunks(response, deadline):
        body += chunk
    return body


def body_chunks(response: httpx.Response, deadline: Deadline) -> Iterator[bytes]:
    """Yield the decoded body in pieces, within the limits of size and time. Raises: as read_body."""
    response.stream = _Timed(response, deadline)
    size = 0
    for chunk in _pieces(response):
        size += len(chunk)
        if size > LARGEST_BODY_BYTES:
            raise BodyTooLarge(
                f"the body of the response is larger than {LARGEST_BODY_BYTES} bytes", request=response.request
            )
        yield chunk


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    """Return the decoded pieces of a body. Only the requested encoding is accepted: nested encodings are an attack."""
    encoding: str = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return response.iter_bytes()
    if encoding == "gzip":
        return _inflate(response)
    raise httpx.DecodingError("the response has an encoding that was not requested", request=response.request)


def _inflate(response: httpx.Response) -> Iterator[bytes]:
    """Yield the content of a gzip body in small pieces; httpx would inflate a chunk at once, to a thousand times."""
    gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for chunk in response.iter_raw():
            left = chunk
            while left:
                yield gzip.decompress(left, LARGEST_PIECE_BYTES)
                left = gzip.unconsumed_tail
        yield gzip.flush()
    except zlib.error as error:
        raise httpx.DecodingError(str(error), request=response.request) from None
