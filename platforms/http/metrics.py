"""The metrics of the service, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# From a get-job on loopback to a wait.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counts requests and shows what is under way. gauges: the name, help and function of each present value."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "cfes_requests", "Requests by operation and status.", ("operation", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "cfes_request_seconds",
            "Time to answer a request.",
            ("operation",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.runs = Counter("cfes_runs_ended", "Runs that ended, by status.", ("status",), registry=self._registry)
        for name, (help_text, value) in gauges.items():
            Gauge(name, help_text, registry=self._registry).set_function(value)

    def request(self, operation: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(operation, str(status)).inc()
        self._seconds.labels(operation).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)
