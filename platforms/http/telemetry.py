"""Traces and metrics for OpenTelemetry. Off unless CFES_HTTP_OTEL is on; needs the extra `otel`.

The standard variables say where they go: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME and
the others of the OpenTelemetry specification. No span has an address, a subject, a parameter or a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from core.clock import Clock
from core.errors import PackError
from core.installation import check_extra
from core.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context

T = TypeVar("T")

SERVICE_NAME = "cfes"
FLUSH_MILLISECONDS = 5000


class RequestSpan(Protocol):
    """The span of a request. answered: sets the HTTP status and the type of its failure."""

    def answered(self, status: int, error_type: str | None) -> None: ...


class NoSpan:
    def answered(self, status: int, error_type: str | None) -> None:
        """Do nothing."""


class NoTelemetry:
    """Records nothing."""

    @contextmanager
    def request(self, operation: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:  # noqa: ARG002
        yield NoSpan()

    def traced(self, name: str, function: Callable[[], T]) -> Callable[[], T]:  # noqa: ARG002
        return function

    def close(self) -> None:
        """Do nothing."""


class Telemetry(NoTelemetry):
    """Sends a span and a duration for each request, and a span for each action. Raises: ParameterError."""

    def __init__(self, clock: Clock) -> None:
        check_extra("otel", "opentelemetry.sdk", "", "OpenTelemetry")
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        own = Resource.create({"service.name": SERVICE_NAME, "service.version": VERSION})
        resource = own.merge(OTELResourceDetector().detect())
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
        self._clock = clock
        self._tracer = self._traces.get_tracer("cfes", VERSION)
        self._seconds = self._metrics.get_meter("cfes", VERSION).create_histogram(
            "http.server.request.duration", unit="s", description="Time to answer a request."
        )

    @contextmanager
    def request(self, operation: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """Record a request for the duration of the block, as a part of the caller's trace (`traceparent`)."""
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        started = self._clock.monotonic()
        parent: Context = TraceContextTextMapPropagator().extract(dict(headers))
        with self._tracer.start_as_current_span(operation, parent, SpanKind.SERVER) as span:
            attributes: dict[str, str | int] = {"cfes.operation": operation}

            class Recorded:
                def answered(self, status: int, error_type: str | None) -> None:
                    attributes["http.response.status_code"] = status
                    if error_type is not None:
                        attributes["error.type"] = error_type
                    span.set_attributes(attributes)
                    if status >= 500:
                        span.set_status(StatusCode.ERROR, error_type)

            yield Recorded()
        self._seconds.record(self._clock.monotonic() - started, attributes)

    def traced(self, name: str, function: Callable[[], T]) -> Callable[[], T]:
        """Return a function that records a span around `function`, below the present one, in any thread."""
        from opentelemetry.context import get_current  # noqa: PLC0415
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        parent = get_current()

        def run() -> T:
            with self._tracer.start_as_current_span(name, parent, record_exception=False) as span:
                try:
                    return function()
                except PackError as error:
                    # The message may quote mail.
                    span.set_status(StatusCode.ERROR, type(error).__name__)
                    span.set_attributes({"error.type": type(error).__name__, "cfes.applied": error.applied})
                    raise

        return run

    def close(self) -> None:
        """Send what is not sent yet."""
        self._traces.force_flush(FLUSH_MILLISECONDS)
        self._traces.shutdown()
        self._metrics.shutdown(FLUSH_MILLISECONDS)
