"""httpx as the pack uses it: one client, and bodies that are read within bounds."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

# httpx imports its own command line on import, and with it rich, click and pygments wherever the `cli` extra is
# installed: 60 ms for every action that a playbook starts as a process. httpx itself copes with its absence.
_COMMAND_LINE = "httpx._main"
if "httpx" not in sys.modules:
    # None is the import system's own way to say "not there".
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
import httpx  # noqa: E402 -- after the line above, on purpose

if sys.modules.get(_COMMAND_LINE, httpx) is None:
    del sys.modules[_COMMAND_LINE]

from connectors.connection import Connection  # noqa: E402
from core.clock import Deadline  # noqa: E402
from core.version import VERSION  # noqa: E402

__all__ = [
    "SLOWEST_ANSWER_FACTOR",
    "USER_AGENT",
    "AnswerTooSlow",
    "BodyTooLarge",
    "body_chunks",
    "client",
    "httpx",
    "read_body",
]

USER_AGENT = f"cloudflare-email-security-pack/{VERSION}"

# A page of 1,000 messages is about 3 MB; what is beyond this is no answer of this API (or a decompression bomb).
LARGEST_BODY_BYTES = 64 * 1024 * 1024

LARGEST_PIECE_BYTES = 64 * 1024

# An exchange may take so many times the timeout for one silence, and never longer than its call.
SLOWEST_ANSWER_FACTOR = 4


class BodyTooLarge(httpx.RemoteProtocolError):
    """The answer's body is larger than anything this API sends."""


class AnswerTooSlow(httpx.ReadTimeout):
    """The answer kept coming, too slowly to ever be worth the wait."""


class _Client(httpx.Client):
    """A client for streams that sends a request as it is. No cookies, redirects or authentication flow: they would take
    a sixth of a call's processor time, and this API needs none."""

    def __init__(self, network: httpx.BaseTransport, **settings: Any) -> None:
        super().__init__(transport=network, **settings)
        self._network = network

    def send(self, request: httpx.Request, **_: Any) -> httpx.Response:
        response = self._network.handle_request(request)
        response.request = request
        return response


def client(connection: Connection, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client for this connection; it honours the settings of the network, and follows no redirect.

    transport: in place of the network. Raises: ConnectionSettingsError where a proxy or certificates can't be used.
    """
    return _Client(
        transport or _network(connection, os.environ),
        headers={
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            **connection.auth_headers(),
        },
        timeout=httpx.Timeout(connection.request_timeout_seconds),
        follow_redirects=False,
        trust_env=False,
    )


def _network(connection: Connection, environment: Mapping[str, str]) -> httpx.BaseTransport:
    """A loopback service is called directly: plain http through a proxy would show the credentials to it."""
    # Loaded where a network is used.
    from connectors.http.certificates import trusted  # noqa: PLC0415
    from connectors.http.network import Network  # noqa: PLC0415
    from connectors.http.proxies import proxy_for  # noqa: PLC0415

    proxy = None if connection.loopback else proxy_for(connection.base_url, environment)
    encrypted = connection.base_url.startswith("https:")
    return Network(trusted(environment) if encrypted else None, proxy)


class _Timed(httpx.SyncByteStream):
    """A body as it comes off the wire, before it is decoded: one that decodes to nothing takes time too."""

    def __init__(self, response: httpx.Response, deadline: Deadline) -> None:
        self._stream = response.stream
        self._request = response.request
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for chunk in cast("Iterable[bytes]", self._stream):
            if self._deadline.remaining() < 0:
                raise AnswerTooSlow("the answer's body did not end in time", request=self._request)
            yield chunk

    def close(self) -> None:
        cast("httpx.SyncByteStream", self._stream).close()


def read_body(response: httpx.Response, deadline: Deadline) -> bytearray:
    """The body, decoded, within the bounds of size and time.

    Raises: httpx.HTTPError, BodyTooLarge and AnswerTooSlow among them.
    """
    # One buffer that grows: chunks that are joined in the end are there twice at that moment.
    body = bytearray()
    for chunk in body_chunks(response, deadline):
        body += chunk
    return body


def body_chunks(response: httpx.Response, deadline: Deadline) -> Iterator[bytes]:
    """The same, piece by piece."""
    response.stream = _Timed(response, deadline)
    size = 0
    for chunk in _pieces(response):
        size += len(chunk)
        if size > LARGEST_BODY_BYTES:
            raise BodyTooLarge(f"the answer's body is larger than {LARGEST_BODY_BYTES} bytes", request=response.request)
        yield chunk


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    """The body's content. Of encodings only what was asked for: one inside another is a bomb, nothing else."""
    encoding: str = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return response.iter_bytes()
    if encoding == "gzip":
        return _inflated(response)
    raise httpx.DecodingError("the answer's body is encoded in a way that was not asked for", request=response.request)


def _inflated(response: httpx.Response) -> Iterator[bytes]:
    """What a gzip body holds, in pieces: httpx gives all that came in one chunk at once, a thousand times its size."""
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
