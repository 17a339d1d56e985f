"""Measures the HTTP service: get-job through it beside the direct call, also with 45 waits open, and 200 callers.

The remote API is a separate process that sends one job. `cfes serve` is another one. The direct call and the call
through the service alternate in one process. `python -m benchmarks.http_service [--samples N] [--seconds N]`.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from actions import get_job
from actions.shapes.example_job import JOB_ID, example_job
from benchmarks.loopback_service import serve
from benchmarks.processes import ACCOUNT, server
from benchmarks.summary import Line, at_most, say, table
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from platforms.callers.callers import Callers

LONGEST_SECONDS = 900
MOST_TIMES_DIRECT = 2.0
MOST_P99_MS = 100.0
SAMPLES, WAITS, CALLERS, SECONDS = 400, 45, 200, 30.0
TOKEN = "of-no-use-elsewhere"  # noqa: S105 -- the API of this benchmark accepts any token

# An account with a raised limit: otherwise the pack would slow down after 960 calls.
HEADERS = b'CF-Ray: 8c1d0f4e5a6b7c8d-FRA\r\nRatelimit-Policy: "default";q=20000;w=300\r\n'
RUNNING = {**example_job(), "status": "RUNNING", "completed_at": None}
BODY = json.dumps({"success": True, "errors": [], "messages": [], "result": RUNNING}).encode()


class Measured(NamedTuple):
    """Times in ms. load: answers by status in the time of the load, and how many a second."""

    direct_p50: float
    service_p50: float
    ratio: float
    waiting_p99: float
    load: dict[int, int]
    rate: float


class Client:
    """One kept connection to the service."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, path: str, body: object) -> int:
        self._connection.request("POST", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def get_job(self) -> None:
        status = self.post("/v1/actions/get-job", {"job_id": JOB_ID})
        if status != 200:
            raise AssertionError(f"get-job was answered {status}")

    def wait_for_job(self) -> None:
        with suppress(OSError, http.client.HTTPException), self:
            self.post("/v1/actions/wait-for-job", {"job_id": JOB_ID, "timeout_seconds": 60})

    def abort(self) -> None:
        """End a request that another thread has sent."""
        if self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def service(base_url: str, state: Path) -> Iterator[tuple[int, str]]:
    """Run `cfes serve`, and yield its port and a token."""
    token = Callers(str(state)).create("bench", ("read", "write"), expires_at=None)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(state),
        "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
        "CLOUDFLARE_API_TOKEN": TOKEN,
        "CLOUDFLARE_BASE_URL": base_url,
        "CFES_STATE_DIR": str(state),
        "CFES_LOG": "off",
        "CFES_HTTP_REQUESTS": "1000000",
    }
    command = [sys.executable, "-m", "platforms.cli", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)  # noqa: S603 -- own program
    assert process.stderr is not None  # noqa: S101 -- for the type
    line = process.stderr.readline()
    # A full pipe would stop the service.
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    try:
        yield int(line.split(". Ctrl")[0].rpartition(":")[2]), token
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        drain.join()
        process.stderr.close()


def timed(call: Callable[[], object]) -> float:
    """Return the time of a call in ms."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def measure(samples: int = SAMPLES, seconds: float = SECONDS, callers: int = CALLERS) -> Measured:
    with ExitStack() as stack:
        base_url, _ = stack.enter_context(server("benchmarks.http_service", "--serve"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, token = stack.enter_context(service(base_url, folder / "service"))
        settings = {"account_id": ACCOUNT, "api_token": TOKEN, "base_url": base_url}
        connection = Connection.checked({**settings, "state_directory": str(folder / "direct")})
        api = stack.enter_context(EmailSecurity(connection))
        client = stack.enter_context(Client(port, token))
        direct, through = [], []
        for number in range(samples + 10):
            pair = timed(lambda: get_job.run({"job_id": JOB_ID}, api)), timed(client.get_job)
            # The first ones open connections and load modules.
            if number >= 10:
                direct.append(pair[0])
                through.append(pair[1])
        waits = stack.enter_context(_waits(port, token))
        waiting = _while(waits, client, samples)
        load = asyncio.run(_load(port, token, callers, seconds))
        ratio = statistics.median(ours / bare for ours, bare in zip(through, direct, strict=True))
        return Measured(
            statistics.median(direct),
            statistics.median(through),
            ratio,
            statistics.quantiles(waiting, n=100)[98],
            dict(load),
            load[200] / seconds,
        )


@contextmanager
def _waits(port: int, token: str) -> Iterator[list[threading.Thread]]:
    """Open 45 waits, and close them at the end of the block."""
    clients = [Client(port, token) for _ in range(WAITS)]
    waits = [threading.Thread(target=client.wait_for_job, daemon=True) for client in clients]
    for wait in waits:
        wait.start()
    try:
        yield waits
    finally:
        for client in clients:
            client.abort()
        for wait in waits:
            wait.join()


def _while(waits: Sequence[threading.Thread], client: Client, samples: int) -> list[float]:
    """Return the times of get-job while the waits are open."""
    time.sleep(2)
    if not all(wait.is_alive() for wait in waits):
        raise AssertionError("a wait has ended")
    times = []
    for _ in range(samples):
        times.append(timed(client.get_job))
        time.sleep(0.01)
    return times


async def _load(port: int, token: str, callers: int, seconds: float) -> Counter[int]:
    """Return the answers by status of callers that each send one request after the other. 0: no answer."""
    ends = time.monotonic() + seconds
    body = json.dumps({"job_id": JOB_ID})
    head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    requests = [
        f"GET /v1/runs?limit=5 HTTP/1.1\r\n{head}\r\n",
        f"POST /v1/actions/get-job HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}",
    ]
    answers: Counter[int] = Counter()

    async def caller() -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            number = 0
            while time.monotonic() < ends:
                writer.write(requests[number % len(requests)].encode())
                number += 1
                header = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(header.partition("content-length: ")[2].split("\r\n")[0]))
                answers[int(header.split()[1])] += 1
            writer.close()
        except (OSError, EOFError):
            answers[0] += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers


def report(found: Measured) -> str:
    answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(found.load.items()))
    row = (
        f"| {found.direct_p50:.2f} | {found.service_p50:.2f} | {found.ratio:.2f} | {found.waiting_p99:.1f} | {answers} "
        f"| {found.rate:.0f} |"
    )
    head = "direct p50, ms | service p50, ms | ratio | p99 with 45 waits, ms | answers to 200 callers | 200s a second"
    return table(head, [row])


def line(found: Measured) -> Line:
    measured = (
        f"get-job {found.direct_p50:.2f} ms direct, {found.service_p50:.2f} ms through the service, p99 with 45 waits "
        f"{found.waiting_p99:.1f} ms, {found.rate:.0f} answers a second"
    )
    errors = sum(count for status, count in found.load.items() if status not in (200, 429))
    goals = (
        at_most(MOST_TIMES_DIRECT, "times direct", found.ratio),
        at_most(MOST_P99_MS, "ms at p99", found.waiting_p99),
        at_most(0, "errors", errors),
    )
    return Line("HTTP service", measured, goals)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=SAMPLES, help="calls of each kind")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long 200 callers send requests")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.serve:
        serve(lambda _: BODY, tls=False, headers=HEADERS)
        return
    signal.alarm(LONGEST_SECONDS)
    say(report(measure(asked.samples, asked.seconds)))


if __name__ == "__main__":
    main()
