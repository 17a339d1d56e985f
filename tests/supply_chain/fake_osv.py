"""A fake OSV vulnerability service on loopback with configurable advisories."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CANARY_ADVISORY = ("jinja2", "2.10", "PYSEC-2019-217", "2.10.1")


@dataclass
class FakeOsv:
    """`advisories` are (package, version, ID, fixed in). `status` and `body` replace the normal response."""

    url: str = ""
    advisories: list[tuple[str, str, str, str]] = field(default_factory=lambda: [CANARY_ADVISORY])
    status: int = 200
    body: bytes | None = None
    silent: bool = False
    queries: list[tuple[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, question: dict[str, Any]) -> bytes:
        name, version = question["package"]["name"], question["version"]
        self.queries.append((name, version))
        if self.body is not None:
            return self.body
        found = [advisory for advisory in self.advisories if advisory[:2] == (name, version)]
        return json.dumps({"vulns": [_write_advisory(*advisory) for advisory in found]} if found else {}).encode()


def _write_advisory(name: str, version: str, identifier: str, fixed: str) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    return {
        "id": identifier,
        "aliases": [f"CVE-OF-{identifier}"],
        "summary": f"A text about {name} {version} that nobody prints",
        "affected": [
            {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        ],
    }


@contextmanager
def serve(fake: FakeOsv) -> Iterator[FakeOsv]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = fake.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if fake.silent:
                fake.released.wait(60)
                return
            self.send_response(fake.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}/v1/query"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
