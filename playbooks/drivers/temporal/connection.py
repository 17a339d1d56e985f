"""Connect to a Temporal server."""

from __future__ import annotations

import asyncio
import logging
from functools import cache

from temporalio.client import Client, TLSConfig
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from playbooks.drivers.temporal.converter import CONVERTER
from playbooks.drivers.temporal.settings import TemporalSettings
from playbooks.language.errors import TemporalUnavailable

CONNECT_SECONDS = 10.0

# What the client library's error means, by a word in it. The error itself can quote settings.
_REASONS = {
    "Connection refused": "the connection is refused",
    "dns error": "its name can't be resolved",
    "InvalidContentType": "it does not use TLS",
    "InvalidCertificate": "its certificate is not valid for this address, or its CA is unknown (CFES_TEMPORAL_TLS_CA)",
    **dict.fromkeys(
        ("Unauthenticated", "PermissionDenied"), "it does not accept the credentials (CFES_TEMPORAL_API_KEY)"
    ),
    # The refusal of a client certificate comes after the connection is made, in one of several forms.
    **dict.fromkeys(
        ("CertificateRequired", "transport error", "UnexpectedEof", "ConnectionReset", "BrokenPipe"),
        "it closes the connection. It may require a client certificate (CFES_TEMPORAL_TLS_CERT)",
    ),
}


async def connect(settings: TemporalSettings) -> Client:
    """Return a connection to the server. Raises: TemporalUnavailable."""
    tls: TLSConfig | bool = settings.uses_tls
    if settings.uses_tls:
        tls = TLSConfig(
            server_root_ca_cert=_pem(settings.tls_ca),
            client_cert=_pem(settings.tls_cert),
            client_private_key=_pem(None if settings.tls_key is None else settings.tls_key.get_secret_value()),
        )
    try:
        return await asyncio.wait_for(
            Client.connect(
                settings.address,
                namespace=settings.namespace,
                api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
                tls=tls,
                data_converter=CONVERTER,
                runtime=_runtime(),
            ),
            CONNECT_SECONDS,
        )
    except (RuntimeError, TimeoutError) as error:
        reason = next((meaning for word, meaning in _REASONS.items() if word in str(error)), "it does not answer")
        how = "with TLS" if settings.uses_tls else "without TLS"
        raise TemporalUnavailable(
            f"there is no connection to the Temporal server at {settings.address} ({how}): {reason}",
            help="Nothing was changed. Start the server, or set CFES_TEMPORAL_ADDRESS and CFES_TEMPORAL_TLS.",
        ) from None


def _pem(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


@cache
def _runtime() -> Runtime:
    """Return the library's threads, with warnings to a logger. By default they would go to standard output."""
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")
    forwarding = LogForwardingConfig(logger=logging.getLogger("temporalio"))
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=levels, forwarding=forwarding)))
