"""Compares get-job with a reused client, get-job with a new client per call, and bare httpx.

The service is a separate process that sends one job, over plain http and over TLS. Blocks of calls alternate; each of
our blocks has its own call count. The figure is the processor time of the client, as the median of the differences
between neighboring blocks. `python -m benchmarks.warm_call [--calls N] [--blocks N]`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from actions import get_job
from actions.shapes.example_job import JOB_ID, example_job
from benchmarks.loopback_service import serve
from benchmarks.processes import ACCOUNT, CERTIFICATE, server
from benchmarks.summary import Line, at_most, say, table
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx

LONGEST_SECONDS = 900
MOST_OVER_BARE_MS = 0.25
CALLS, BLOCKS = 200, 25
PATH = f"/accounts/{ACCOUNT}/email-security/investigate/bulk/{JOB_ID}"
TOKEN = "of-no-use-elsewhere"  # noqa: S105 -- the service accepts any token

HEADERS = (
    b'CF-Ray: 8c1d0f4e5a6b7c8d-FRA\r\nRatelimit: "default";r=1100;t=300\r\nRatelimit-Policy: "default";q=1200;w=300\r\n'
)
BODY = json.dumps({"success": True, "errors": [], "messages": [], "result": example_job()}).encode()


class Measured(NamedTuple):
    """The medians in ms. over_bare: of the differences between neighboring blocks."""

    transport: str
    kept: float
    made_anew: float
    bare: float
    over_bare: float


def used_by(call: Callable[[], object], calls: int) -> float:
    """Return the processor time of one call in ms, without the first three calls."""
    for _ in range(3):
        call()
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls * 1000


def ours(base_url: str, calls: int, *, kept: bool) -> float:
    def get_job_anew() -> object:
        with EmailSecurity(connection) as api:
            return get_job.run({"job_id": JOB_ID}, api)

    with tempfile.TemporaryDirectory() as directory:
        connection = Connection.checked(
            {
                "account_id": ACCOUNT,
                "api_token": TOKEN,
                "base_url": base_url,
                "state_directory": str(Path(directory) / "state"),
            }
        )
        if not kept:
            return used_by(get_job_anew, calls)
        with EmailSecurity(connection) as api:
            return used_by(lambda: get_job.run({"job_id": JOB_ID}, api), calls)


def bare(base_url: str, calls: int) -> float:
    def get() -> object:
        answer = client.get(base_url + PATH)
        answer.raise_for_status()
        return answer.json()["result"]

    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, verify=context) as client:
        return used_by(get, calls)


def measure(calls: int = CALLS, blocks: int = BLOCKS) -> Iterator[Measured]:
    os.environ["SSL_CERT_FILE"] = str(CERTIFICATE)
    for transport, more in (("plain http", []), ("TLS", ["--tls"])):
        with server("benchmarks.warm_call", "--serve", *more) as (base_url, _):
            found = [
                (
                    ours(base_url, calls, kept=True),
                    ours(base_url, max(calls // 5, 1), kept=False),
                    bare(base_url, calls),
                )
                for _ in range(blocks)
            ]
        kept, made_anew, alone = (statistics.median(each) for each in zip(*found, strict=True))
        over_bare = statistics.median(block[0] - block[2] for block in found)
        yield Measured(transport, kept, made_anew, alone, over_bare)


def report(figures: Sequence[Measured]) -> str:
    rows = [
        f"| {one.transport} | {' | '.join(f'{figure:.2f}' for figure in one[1:])} | at most {MOST_OVER_BARE_MS} |"
        for one in figures
    ]
    return table(" | kept, ms | made anew, ms | bare httpx, ms | kept, over bare httpx | goal", rows)


def line(figures: Sequence[Measured]) -> Line:
    measured = "; ".join(
        f"{one.transport} {one.kept:.2f} ms, {one.over_bare:.2f} over bare httpx, {one.made_anew:.2f} made anew"
        for one in figures
    )
    goals = (at_most(MOST_OVER_BARE_MS, "ms over bare httpx", *(one.over_bare for one in figures)),)
    return Line("warm call, connector kept", measured, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--calls", type=int, default=CALLS, help="calls per block, at most 950")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="blocks of each kind")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--tls", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(lambda _: BODY, tls=asked.tls, headers=HEADERS)
        return
    signal.alarm(LONGEST_SECONDS)
    say(report(list(measure(asked.calls, asked.blocks))))


if __name__ == "__main__":
    main()
