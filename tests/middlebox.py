"""A proxy between the pack and the service that holds a call at a named point, then forwards or drops it.

If the caller is killed meanwhile, the proxy can still forward the request that it holds, as a real network may.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from sandbox.operations import route
from sandbox.server import RunningSandbox

WAIT_SECONDS = 20.0
STOP_POLL_SECONDS = 0.02

# The list of jobs after a create, which finds duplicate jobs, is a boundary of its own.
LIST_AFTER_CREATE = "listBulkJobs after createBulkJob"

# request: held before the service gets it. answer: held after the service has carried it out.
Point = Literal["request", "answer"]


class Halt:
    """Holds one call: the first of this operation, at this point."""

    def __init__(self, operation: str, point: Point) -> None:
        self.operation, self.point = operation, point
        self.reached, self.over, self.done = threading.Event(), threading.Event(), threading.Event()
        self.lost = False

    def wait(self) -> None:
        assert self.reached.wait(WAIT_SECONDS), f"{self.operation} was not held at its {self.point}"

    def resume(self) -> None:
        """Forward the call, and wait until the service has answered."""
        self.over.set()
        assert self.done.wait(WAIT_SECONDS), f"{self.operation} did not go on"

    def lose(self) -> None:
        self.lost = True
        self.resume()


class Middlebox:
    """Forwards calls to `service`. `seen` lists the operations; `hung_up` is set when a caller disconnects."""

    def __init__(self, service: RunningSandbox, *halts: Halt) -> None:
        self.halts = halts
        self.seen: list[str] = []
        self.hung_up = threading.Event()
        self._service = urlsplit(service.base_url)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(STOP_POLL_SECONDS,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self._service.path}"

    def close(self) -> None:
        for halt in self.halts:
            halt.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_SECONDS)

    def forward_call(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, Any, bytes] | None:
        """Return the service's status, headers and body, or None for a lost call."""
        operation = route(method, urlsplit(path).path).operation_id
        if operation == "listBulkJobs" and "createBulkJob" in self.seen:
            operation = LIST_AFTER_CREATE
        first = operation not in self.seen
        self.seen.append(operation)
        mine = {halt.point: halt for halt in self.halts if first and halt.operation == operation}
        if self._hold(mine.get("request")):
            return None
        host, port = self._service.hostname or "", self._service.port
        with closing(HTTPConnection(host, port, timeout=WAIT_SECONDS)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            response = answer.status, answer.getheaders(), answer.read()
        lost = self._hold(mine.get("answer"))
        for halt in mine.values():
            halt.done.set()
        return None if lost else response

    def _hold(self, halt: Halt | None) -> bool:
        if halt is None:
            return False
        halt.reached.set()
        halt.over.wait(2 * WAIT_SECONDS)
        if halt.lost:
            halt.done.set()
        return halt.lost


@contextmanager
def middlebox(service: RunningSandbox, *halts: Halt) -> Iterator[Middlebox]:
    box = Middlebox(service, *halts)
    try:
        yield box
    finally:
        box.close()


def _handler(box: Middlebox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes: the second would wait for the first one's delayed acknowledgement.
        disable_nagle_algorithm = True

        def handle(self) -> None:
            # The caller may have been killed.
            with suppress(ConnectionError):
                super().handle()
            box.hung_up.set()

        def forward_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = box.forward_call(self.command, self.path, dict(self.headers), body)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = forward_request  # noqa: N815 -- http.server's own names

        def log_message(self, *_: object) -> None:
            pass

    return Handler
