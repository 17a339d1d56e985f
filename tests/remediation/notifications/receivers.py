"""Receivers on loopback that answer as scripted and check each request as the vendor documents it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Credentials of the tests. tests/secrets_watch.py looks for them in everything that a test writes.
URL_SECRET = "services-T024-B024-never-show-this-path"
API_KEY = "thehive-key-that-must-never-show"
BEARER = "ticket-token-that-must-never-show"
# 32 bytes, as Standard Webhooks writes them.
WEBHOOK_SECRET = "whsec_bmV2ZXItc2hvdy10aGlzLXdlYmhvb2stc2VjcmV0ISE="


@dataclass(frozen=True)
class Request:
    """One request that a receiver got. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Check = Callable[[Request], object]


@dataclass(frozen=True)
class Answer:
    """A response. body: also a function, for a body that waits."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Callable[[], Iterator[bytes]] = b"ok"


class Receiver:
    """A server on 127.0.0.1. It gives its answers in order, and the last one again.

    A request that fails `check` is refused with 400, and its problem is kept.
    """

    def __init__(self, check: Check | None, answers: tuple[Answer, ...]) -> None:
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self._check = check
        self._answers = answers or (Answer(),)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.answer(Request("POST", self.path, headers, self.rfile.read(length)))
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                pieces = iter([answer.body]) if isinstance(answer.body, bytes) else answer.body()
                try:
                    for piece in pieces:
                        self.wfile.write(piece)
                except OSError:
                    # The caller does not read to the end.
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL of a webhook, with a secret path as Slack and Teams have it."""
        return f"{self.origin}/{URL_SECRET}"

    def answer(self, request: Request) -> Answer:
        number = len(self.requests)
        self.requests.append(request)
        answer = self._answers[min(number, len(self._answers) - 1)]
        if self._check is not None:
            try:
                self._check(request)
            except (AssertionError, KeyError, TypeError, ValueError) as error:
                self.problems.append(f"{type(error).__name__}: {error}")
                return Answer(400, body=b"invalid_payload")
        return answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def receiver(check: Check | None = None, *answers: Answer) -> Iterator[Receiver]:
    running = Receiver(check, answers)
    try:
        yield running
    finally:
        running.close()


def environment(kind: str, url: str, name: str = "soc") -> dict[str, str]:
    """Return the settings of one channel."""
    secrets = {"webhook": WEBHOOK_SECRET, "thehive": API_KEY, "ticket": BEARER}
    secret = {f"CFES_NOTIFY_{name.upper()}_SECRET": secrets[kind]} if kind in secrets else {}
    return {"CFES_NOTIFY_CHANNELS": f"{name}={kind}", f"CFES_NOTIFY_{name.upper()}_URL": url, **secret}
