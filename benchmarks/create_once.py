"""Measures a create with an idempotency key among many old jobs: calls and seconds.

`python -m benchmarks.create_once [--jobs N ...] [--milliseconds N]` starts a service in a separate process, which waits
before each response, and runs create-move-job against it as a process. All jobs have the same search and destination as
the new one. The list is sorted newest first, then oldest first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from benchmarks.processes import connection, run, server
from benchmarks.summary import Line, at_most, say, table

LONGEST_SECONDS = 900
ORDERS = ("newest first", "oldest first")
JOBS = (0, 500, 5_000, 50_000)
MILLISECONDS = 100.0
# The goals: for a list with one page, and for the most jobs.
MOST_CALLS_OF_A_PAGE, MOST_CALLS, MOST_SECONDS = 5, 110, 15
NOW = datetime.now(UTC)

PARAMS = {
    "search_params": {
        "sender": "billing@invoice-portal.example",
        "start": "2026-11-13T15:32:35Z",
        "end": "2026-11-20T15:32:35Z",
        "detections_only": False,
    },
    "destination": "JunkEmail",
    "idempotency_key": "case-42",
    "wait_follows": True,
}


class Measured(NamedTuple):
    """The figures of one create as a process."""

    jobs: int
    order: str
    calls: int
    seconds: float


def old_job(number: int, made: datetime) -> dict[str, Any]:
    return {
        "job_id": str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)),
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail"},
        "search_params": PARAMS["search_params"],
        "status": "COMPLETED",
        "status_message": None,
        "comment": f"[cfes:1:{number:024x}:{number:016x}:call={number:08x}] case {number}",
        "created_at": made.isoformat().replace("+00:00", "Z"),
        "started_at": made.isoformat().replace("+00:00", "Z"),
        "completed_at": made.isoformat().replace("+00:00", "Z"),
        "total_messages_discovered": 61,
        "messages_pending": 0,
        "messages_successful": 61,
        "messages_failed": 0,
        "messages_skipped": 0,
        "messages_cancelled": 0,
    }


class Service:
    """The service. jobs: the JSON text of each job, newest first."""

    def __init__(self, count: int, order: str, milliseconds: float) -> None:
        self.jobs = [
            json.dumps(old_job(count - place, NOW - timedelta(minutes=place + 10))).encode() for place in range(count)
        ]
        self.newest_first = order == ORDERS[0]
        self.seconds = milliseconds / 1000
        self.calls: Counter[str] = Counter()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        self.calls[method] += 1
        if method == "POST":
            comment = json.loads(body)["comment"]
            job = old_job(10**9, datetime.now(UTC)) | {"status": "PENDING", "comment": comment}
            job["total_messages_discovered"] = job["messages_successful"] = 0
            self.jobs.insert(0, json.dumps(job).encode())
            return 201, b'{"success":true,"errors":[],"messages":[],"result":%b}' % self.jobs[0]
        per_page = int(query["per_page"])
        first = (int(query["page"]) - 1) * per_page
        rows = self.jobs[first : first + per_page]
        if not self.newest_first:
            end = len(self.jobs) - first
            rows = self.jobs[max(end - per_page, 0) : max(end, 0)][::-1]
        info = b'{"page":0,"per_page":%d,"count":%d,"total_count":0}' % (per_page, len(rows))
        return 200, b'{"success":true,"errors":[],"messages":[],"result":[%b],"result_info":%b}' % (
            b",".join(rows),
            info,
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target, _ = head.split(" ", 2)
                length = next(
                    (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0
                )
                status, body = self.answer(method, target, await reader.readexactly(length))
                await asyncio.sleep(self.seconds)
                writer.write(
                    b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                    % (status, len(body))
                )
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


async def serve(count: int, order: str, milliseconds: float) -> None:
    """Serve until standard input ends. Print the URL as one line of JSON, and at the end the calls as another."""
    service = Service(count, order, milliseconds)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, limit=2**16)
    sys.stdout.write(
        json.dumps({"base_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/client/v4"}) + "\n"
    )
    sys.stdout.flush()
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    sys.stdout.write(json.dumps(service.calls) + "\n")


def measure_create(count: int, order: str, milliseconds: float) -> Measured:
    with server("benchmarks.create_once", "--serve", str(count), order, str(milliseconds)) as (ready, service):
        settings = connection(json.loads(ready)["base_url"])
        used, output = run(["-m", "actions.create_move_job"], PARAMS, settings)
        calls = Counter[str](json.loads(service.communicate()[0]))
    result = json.loads(output)
    if used.status != 0 or not result["created"] or calls["POST"] != 1:
        raise SystemExit(f"the create failed: {result}")
    return Measured(count, order, calls.total(), used.seconds)


def measure(
    jobs: Sequence[int] = JOBS, milliseconds: float = MILLISECONDS, orders: Sequence[str] = ORDERS
) -> Iterator[Measured]:
    for count in jobs:
        for order in orders:
            yield measure_create(count, order, milliseconds)


def report(figures: Sequence[Measured]) -> str:
    rows = [f"| {one.jobs:,} | {one.order} | {one.calls} | {one.seconds:.1f} |" for one in figures]
    return table("old jobs | order of the list | calls | seconds", rows)


def line(figures: Sequence[Measured]) -> Line:
    few, many = ([one for one in figures if one.jobs == figures[at].jobs] for at in (0, -1))
    measured = f"{', '.join(str(one.calls) for one in many)} calls, {', '.join(f'{one.seconds:.1f}' for one in many)} s"
    goals = (
        at_most(MOST_CALLS_OF_A_PAGE, "calls for a list with one page", *(one.calls for one in few)),
        at_most(MOST_CALLS, "calls", *(one.calls for one in many)),
        at_most(MOST_SECONDS, "s", *(one.seconds for one in many)),
    )
    return Line(f"create once, {many[0].jobs:,} old jobs", measured, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=JOBS, help="old jobs of the account")
    parser.add_argument("--milliseconds", type=float, default=MILLISECONDS, help="wait before each response")
    parser.add_argument("--serve", nargs=3, metavar=("JOBS", "ORDER", "MILLISECONDS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(int(given.serve[0]), given.serve[1], float(given.serve[2])))
        return
    signal.alarm(LONGEST_SECONDS)
    say(report(list(measure(given.jobs, given.milliseconds))))


if __name__ == "__main__":
    main()
