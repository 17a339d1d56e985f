"""The network transport for httpx: httpcore with the connections of connectors.http.sockets.

httpx's own transport accepts no network backend, and does not translate the errors of the SOCKS library.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpcore
import httpx

from connectors.http.exchange import exchange_under_way
from connectors.http.proxies import Proxy
from connectors.http.sockets import BoundedBackend

# Each prefetched page uses one connection. The other numbers are the defaults of httpx.
MOST_CONNECTIONS = 100
MOST_IDLE_CONNECTIONS = 20
IDLE_SECONDS = 5.0


class Network(httpx.BaseTransport):
    """The network. tls: the context for the API and for a proxy; None for plain http."""

    def __init__(self, tls: ssl.SSLContext | None, proxy: Proxy | None, backend: BoundedBackend | None = None) -> None:
        settings: dict[str, Any] = {
            "ssl_context": tls,
            "max_connections": MOST_CONNECTIONS,
            "max_keepalive_connections": MOST_IDLE_CONNECTIONS,
            "keepalive_expiry": IDLE_SECONDS,
            "network_backend": backend or BoundedBackend(),
        }
        self._pool: httpcore.ConnectionPool
        if proxy is None:
            self._pool = httpcore.ConnectionPool(**settings)
            return
        url = httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target=b"/")
        if proxy.is_socks:
            self._pool = httpcore.SOCKSProxy(url, proxy_auth=proxy.credentials, **settings)
        else:
            # SSL_CERT_FILE also applies to an https proxy.
            inner = tls if proxy.scheme == "https" else None
            self._pool = httpcore.HTTPProxy(url, proxy_auth=proxy.credentials, proxy_ssl_context=inner, **settings)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        core_request = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=cast("httpx.SyncByteStream", request.stream),
            extensions=request.extensions,
        )
        with _as_httpx_errors():
            answer = self._pool.handle_request(core_request)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors():
            yield from cast("Iterable[bytes]", self._stream)

    def close(self) -> None:
        self._stream.close()


# The bases of httpcore's errors. httpx has an error of the same name for each of them.
_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


@contextmanager
def _as_httpx_errors() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError:
        raise
    except Exception as error:
        exchange = exchange_under_way()
        if exchange is not None:
            exchange.cancel_connecting()
        if isinstance(error, _ERRORS):
            kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
            raise kind(str(error)) from error
        if exchange is not None and exchange.connecting:
            # If a proxy does not speak SOCKS correctly, the library raises AssertionError or IndexError.
            raise httpx.ProxyError(f"the proxy's response is invalid ({type(error).__name__})") from error
        raise
