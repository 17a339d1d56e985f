"""Object stores for tests: moto's S3 over real HTTP, direct access to its objects, and a `Door` that injects faults.

moto runs as a process in its own environment (`make test` sets it up). In the tests' environment, vcrpy would patch
botocore and disturb the tests that replay cassettes.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import re
import select
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from connectors.http.client import httpx
from remediation.exports.destinations import object_store_settings
from tests.plain_http import PLAIN

ROOT = Path(__file__).parent.parent
MOTO = Path(os.environ.get("MOTO_PYTHON") or ROOT / ".venv-moto" / "bin" / "python")
# Keeps multipart uploads small.
SMALLEST_PART = 256

ACCESS_KEY = "AKIA-of-the-object-store"
SECRET_KEY = "secret-key-of-the-object-store"
SESSION_TOKEN = "session-token-of-the-object-store"

_buckets = itertools.count(1)


@dataclass
class Bucket:
    """The bucket of one test, accessed without obstore."""

    endpoint: str
    name: str

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def get(self, key: str) -> bytes | None:
        answer = _send_as_another_user("GET", f"{self.endpoint}/{self.name}/{key}")
        return None if answer.status_code == 404 else answer.raise_for_status().content

    def put(self, key: str, data: bytes) -> None:
        _send_as_another_user("PUT", f"{self.endpoint}/{self.name}/{key}", data).raise_for_status()

    def delete(self, key: str) -> None:
        _send_as_another_user("DELETE", f"{self.endpoint}/{self.name}/{key}").raise_for_status()

    def objects(self) -> list[str]:
        return re.findall("<Key>(.*?)</Key>", self._list("list-type=2"))

    def unfinished_uploads(self) -> list[str]:
        return re.findall("<UploadId>(.*?)</UploadId>", self._list("uploads"))

    def _list(self, query: str) -> str:
        return _send_as_another_user("GET", f"{self.endpoint}/{self.name}?{query}").raise_for_status().text


def _send_as_another_user(method: str, url: str, data: bytes | None = None) -> httpx.Response:
    """Send a request as another user. moto does not check the signature."""
    authorization_header = (
        "AWS4-HMAC-SHA256 Credential=somebody/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    )
    return _client().request(method, url, content=data, headers={"authorization": authorization_header})


@functools.cache
def _client() -> httpx.Client:
    """Return one shared client: to create a client is to load all certificates."""
    client = httpx.Client(trust_env=False, verify=PLAIN)
    atexit.register(client.close)
    return client


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of moto's S3."""
    if not MOTO.exists():
        pytest.skip("moto is not installed: `make test` sets up .venv-moto, or MOTO_PYTHON names a Python that has it")
    environment = {"PATH": os.environ.get("PATH", ""), "S3_UPLOAD_PART_MIN_SIZE": str(SMALLEST_PART)}
    with subprocess.Popen(
        [str(MOTO), str(Path(__file__).with_name("moto_process.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        yield f"http://{host}:{port}"
        process.stdin.close()


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, to check for leftover files."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the environment of a store. Retries wait for milliseconds."""
    monkeypatch.setattr(object_store_settings, "FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(object_store_settings, "LONGEST_BACKOFF_SECONDS", 0.002)

    def to(endpoint: str, **variables: str) -> None:
        given = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": SESSION_TOKEN,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            **variables,
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return to


@pytest.fixture
def bucket(moto: str, settings: Callable[..., None]) -> Bucket:
    """An empty bucket; the environment is set to its store."""
    made = Bucket(moto, f"evidence-{os.getpid()}-{next(_buckets)}")
    _send_as_another_user("PUT", f"{moto}/{made.name}").raise_for_status()
    settings(moto)
    return made


@dataclass(frozen=True)
class Request:
    """A received request; `path` includes the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A response.

    `lost`: the store gets the request, but the caller gets no response. `dropped`: the store gets no request either.
    `trickled`: the caller gets an endless response.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    dropped: bool = False
    trickled: bool = False


def refusal(status: int, code: str) -> Answer:
    """Return an error response of a store that contains credentials."""
    document = f"<Error><Code>{code}</Code><Message>of {ACCESS_KEY}</Message><Resource>{SECRET_KEY}</Resource></Error>"
    return Answer(status, document.encode(), {"content-type": "application/xml"})


class Door:
    """A proxy before a store, or a fake store: `decide` returns a response, or None to forward the request."""

    def __init__(self, decide: Callable[[Request], Answer | None], behind: str | None = None) -> None:
        self.seen: list[Request] = []
        door = self
        # Create the shared client here: two threads could create two, and leak one.
        _client()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # An answer goes out in two writes: the second must not wait for an acknowledgement of the first.
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                door.seen.append(request)
                decided = decide(request)
                if decided is None or decided.lost or decided.trickled:
                    fault, decided = decided, door.forward_request(request, behind)
                    if fault is not None:
                        self.close_connection = True
                        if fault.trickled:
                            self.trickle()
                        return
                if decided.dropped:
                    self.close_connection = True
                    return
                self.send_response(decided.status)
                for name, value in decided.headers.items():
                    self.send_header(name, value)
                if "content-length" not in decided.headers:
                    self.send_header("content-length", str(len(decided.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(decided.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 -- their names in the library

            def trickle(self) -> None:
                """Send a status and an endless header byte by byte until the caller disconnects."""
                for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nx-slow: ", itertools.repeat(ord("x"))):
                    if select.select([self.connection], [], [], 0.01)[0]:
                        return
                    self.wfile.write(bytes([byte]))

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def forward_request(self, request: Request, behind: str | None) -> Answer:
        assert behind is not None, f"nobody answers {request.method} {request.path}"
        kept = {n: v.strip() for n, v in request.headers.items() if n not in {"connection", "transfer-encoding"}}
        answer = _client().request(request.method, behind + request.path, headers=kept, content=request.body)
        passed = {
            n: v for n, v in answer.headers.items() if n not in {"connection", "transfer-encoding", "date", "server"}
        }
        return Answer(answer.status_code, answer.content, passed)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def door(settings: Callable[..., None]) -> Iterator[Callable[..., Door]]:
    """Open doors, and set the environment to the latest one."""
    opened: list[Door] = []

    def at(decide: Callable[[Request], Answer | None], behind: str | None = None) -> Door:
        made = Door(decide, behind)
        opened.append(made)
        settings(made.url)
        return made

    yield at
    for made in opened:
        made.close()
