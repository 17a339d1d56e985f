"""Traces and metrics of the service, sent to a collector on loopback."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.platforms.http.serving import RunningService

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.received.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(each) for each in self.received.get("/v1/traces", [])]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metric_names(self) -> set[str]:
        requests = [ExportMetricsServiceRequest.FromString(each) for each in self.received.get("/v1/metrics", [])]
        return {
            metric.name
            for request in requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def test_a_request_and_its_action_are_spans_of_the_callers_trace(
    start: Callable[..., RunningService], token: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    running = start(CFES_HTTP_OTEL="on")
    with running.client(token) as client:
        client.post("/v1/actions/list-jobs", json={}, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        client.post("/v1/actions/get-job", json={"job_id": "00000000-0000-4000-8000-000000000000"})
    running.stop()
    spans = collector.spans()
    by_name = {span.name: span for span in spans}
    assert {"list_jobs", "list-jobs", "get_job", "get-job"} <= by_name.keys()
    outer, inner = by_name["list_jobs"], by_name["list-jobs"]
    assert outer.trace_id.hex() == inner.trace_id.hex() == TRACE
    assert inner.parent_span_id == outer.span_id
    failed = {each.key: each.value.string_value for each in by_name["get-job"].attributes}
    assert failed["error.type"] == "NotFound"
    assert "http.server.request.duration" in collector.metric_names()
    assert b"00000000-0000-4000-8000-000000000000" not in b"".join(collector.received["/v1/traces"])


def test_nothing_is_sent_by_default(
    start: Callable[..., RunningService], token: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    running = start()
    with running.client(token) as client:
        client.post("/v1/actions/list-jobs", json={})
    running.stop()
    assert collector.received == {}
