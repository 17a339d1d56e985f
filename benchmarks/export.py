"""Measures exports of a job's rows: ours, the official SDK in two ways, and the floor, in turns.

The floor fetches the same bytes with httpx at the same concurrency and writes them unchanged. Each program runs as a
process, from start to exit. The benchmark compares processor time (user and system), because other work on the machine
affects it less than elapsed time.
`python -m benchmarks.export [--count N ...] [--latency MS ...] [--programs NAME ...] [--runs N]`.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from benchmarks import processes
from benchmarks.page_server import PAGE
from benchmarks.processes import CERTIFICATE, Run, connection, server
from benchmarks.summary import Goal, Line, at_least, at_most, say, table
from benchmarks.tenant_rows import RowKind
from tests.connectors.scripted import JOB_ID

LONGEST_SECONDS = 3600
COUNT, LATENCIES, RUNS = 100_000, (0, 50, 200), 3
# The growth of memory from 10,000 to a million rows, and the memory of each export.
MOST_GROWTH, MOST_MB = 1.15, 100


class Goals(NamedTuple):
    """The goals of a program.

    to_ascii: processor time relative to ASCII rows. sdk_times: time of the SDK's iteration relative to ours.
    to_sdk_raw: our time relative to the SDK's raw use. more_us: microseconds per row beyond NDJSON. mb: peak memory.
    """

    mb: float = MOST_MB
    to_ascii: float | None = None
    sdk_times: float | None = None
    to_sdk_raw: float | None = None
    more_us: float | None = None


class Program(NamedTuple):
    """A program to measure. module: the Python module. parameters: for our action, in addition to the usual ones.

    sdk: the program that does the same with the SDK's iteration.
    """

    title: str
    module: str = "actions.export_job_messages"
    rows: RowKind = "utf8"
    parameters: dict[str, object] | None = None
    row_format: str = ""
    goals: Goals | None = None
    sdk: str = "sdk"


PROGRAMS = {
    "ndjson": Program("NDJSON", parameters={}, goals=Goals(to_ascii=1.1, sdk_times=12, to_sdk_raw=0.95)),
    "quotes": Program("NDJSON, quotes in every row", rows="quotes", parameters={}, goals=Goals(to_ascii=1.25)),
    "ascii": Program("NDJSON, ASCII", rows="ascii", parameters={}),
    "floor": Program("the floor", "benchmarks.export_floor"),
    "sdk-raw": Program("SDK, raw, 8 threads", "benchmarks.sdk_raw_export"),
    "sdk": Program("SDK, NDJSON", "benchmarks.sdk_export", row_format="ndjson"),
    "csv": Program("CSV", parameters={"format": "csv"}, goals=Goals(more_us=25, sdk_times=8), sdk="sdk-csv"),
    "sdk-csv": Program("SDK, CSV", "benchmarks.sdk_export", row_format="csv"),
    "json": Program("JSON", parameters={"format": "json"}, goals=Goals(more_us=10)),
    "parquet": Program("Parquet", parameters={"format": "parquet"}, goals=Goals(mb=200, more_us=50)),
    "pseudonyms": Program("NDJSON, pseudonymised", parameters={"pseudonymize": True}, goals=Goals(more_us=60)),
}
COMPRESSED = ("ndjson", "floor", "sdk-raw")


class Server(NamedTuple):
    base_url: str
    total: int
    row_bytes: int


class Group(NamedTuple):
    """Runs of the programs in turns; runs with the same index are neighbors. sent: the server's rate in MB/s."""

    served: Server
    account: str
    runs: Mapping[str, Sequence[Run]]
    sent: float

    def processor(self, name: str) -> float:
        return statistics.median(one.processor for one in self.runs[name])

    def peak_mb(self, name: str) -> float:
        return max(one.peak_mb for one in self.runs[name])

    def ratio(self, name: str, to: str, of: Literal["seconds", "processor"]) -> float:
        pairs = zip(self.runs[name], self.runs[to], strict=True)
        field = Run._fields.index(of)
        return statistics.median(this[field] / other[field] for this, other in pairs)

    def more_us(self, name: str) -> float:
        """Return the processor time per row beyond NDJSON, in microseconds."""
        pairs = zip(self.runs[name], self.runs["ndjson"], strict=True)
        return statistics.median(this.processor - ndjson.processor for this, ndjson in pairs) / self.served.total * 1e6


@contextmanager
def serving(count: int, rows: RowKind, *, tls: bool) -> Iterator[Server]:
    more = [] if tls else ["--http"]
    with server("benchmarks.page_server", "--count", str(count), "--rows", rows, *more) as (ready, _):
        yield Server(**json.loads(ready))


def server_rate(server: Server, pages: int) -> float:
    """Return the rate in MB/s at which the server sends to a client that discards the bytes."""
    parts = urlsplit(server.base_url)
    buffer = bytearray(1 << 20)
    received = 0
    with connect(parts.scheme, (parts.hostname or "", parts.port or 0)) as line:
        began = time.perf_counter()
        for number in range(1, pages + 1):
            path = f"{parts.path}/accounts/bench-0/email-security/investigate/bulk/{JOB_ID}/messages?page={number}"
            line.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            size = line.recv_into(buffer)
            head, _, body = bytes(buffer[:size]).partition(b"\r\n\r\n")
            left = int(head.rpartition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
            received += left + len(body)
            while left > 0:
                left -= line.recv_into(buffer)
        return received / 1e6 / (time.perf_counter() - began)


def connect(scheme: str, address: tuple[str, int]) -> socket.socket:
    line = socket.create_connection(address)
    if scheme == "http":
        return line
    return ssl.create_default_context(cafile=CERTIFICATE).wrap_socket(line, server_hostname=address[0])


def run(program: Program, served: Server, account: str, folder: Path) -> Run:
    """Run one export as a process. Raises: SystemExit if it failed."""
    destination = folder / "rows"
    given: dict[str, object] = {}
    command = ["-m", program.module]
    if program.parameters is None:
        command += [str(destination), str(-(-served.total // PAGE)), JOB_ID, program.row_format]
    else:
        given = {"job_id": JOB_ID, "destination": str(destination), **program.parameters}
    used, _ = processes.run(command, given, connection(served.base_url, account))
    if used.status != 0:
        raise SystemExit(f"{program.title} failed")
    # One call reads at most a million rows, and then leaves a partial file for the next call.
    for path in folder.iterdir():
        path.unlink()
    return used


def measure(
    names: Sequence[str],
    count: int = COUNT,
    latencies: Sequence[int] = LATENCIES,
    runs: int = RUNS,
    *,
    tls: bool = True,
    compressed: bool = False,
) -> Iterator[Group]:
    """Yield the runs at each latency. compressed: also run some programs with compressed responses."""
    # The basis of the comparisons comes first.
    names = ["ndjson", *(name for name in names if name != "ndjson")]
    accounts = {f"bench-{latency}": names for latency in latencies}
    if compressed:
        accounts["bench-0-gzip"] = [name for name in names if name in COMPRESSED]
    with ExitStack() as started:
        servers = {
            rows: started.enter_context(serving(count, rows, tls=tls))
            for rows in {PROGRAMS[name].rows for name in names}
        }
        served = servers["utf8"]
        sent = server_rate(served, min(100, -(-count // PAGE)))
        folder = Path(started.enter_context(tempfile.TemporaryDirectory()))
        for account, chosen in accounts.items():
            found: dict[str, list[Run]] = {name: [] for name in chosen}
            for _ in range(runs):
                for name in chosen:
                    program = PROGRAMS[name]
                    found[name].append(run(program, servers[program.rows], account, folder))
            yield Group(served, account, found, sent)


def report(group: Group) -> str:
    """Return a line for each program. The ratios are medians over neighboring runs."""
    rows = []
    for name, runs in group.runs.items():
        figures = (
            f"{statistics.median(one.seconds for one in runs):.2f}",
            f"{group.processor(name):.2f}",
            f"{group.peak_mb(name):.0f}",
            f"{group.ratio(name, 'ndjson', 'processor'):.2f}",
            f"{group.ratio(name, 'ndjson', 'seconds'):.2f}",
            f"{group.more_us(name):.1f}",
        )
        rows.append(f"| {group.served.total:,} | {group.account} | {PROGRAMS[name].title} | {' | '.join(figures)} |")
    head = "rows | server | program | seconds | processor | peak MB | processor ratio | seconds ratio | us a row more"
    sent = f"the server sends {group.sent:,.0f} MB/s; a row has {group.served.row_bytes} bytes"
    return f"{table(head, rows)}\n{sent}"


def lines(groups: Sequence[Group]) -> list[Line]:
    """Return a line for each of our programs. groups: at each latency; the first has the processor time."""
    return [_line(name, goals, groups) for name, program in PROGRAMS.items() if (goals := program.goals) is not None]


def _line(name: str, goals: Goals, groups: Sequence[Group]) -> Line:
    first = groups[0]
    to_ascii = first.ratio(name, "ascii", "processor")
    sdk_times = [1 / group.ratio(name, PROGRAMS[name].sdk, "seconds") for group in groups]
    to_sdk_raw = [group.ratio(name, "sdk-raw", "seconds") for group in groups]
    checked: list[Goal] = []
    if goals.to_ascii is not None:
        checked.append(at_most(goals.to_ascii, "of ASCII", to_ascii))
    if goals.sdk_times is not None:
        checked.append(at_least(goals.sdk_times, "times the SDK", *sdk_times))
    if goals.to_sdk_raw is not None:
        checked.append(at_most(goals.to_sdk_raw, "of SDK raw", *to_sdk_raw))
    measured = f"{first.processor(name):.2f} s, {first.peak_mb(name):.0f} MB"
    if goals.more_us is not None:
        measured += f", {first.more_us(name):.1f} us a row above NDJSON"
        checked.append(at_most(goals.more_us, "us a row above NDJSON", first.more_us(name)))
    checked.append(at_most(goals.mb, "MB", first.peak_mb(name)))
    to_floor = first.ratio(name, "floor", "processor")
    title = f"{PROGRAMS[name].title}, {first.served.total:,}"
    return Line(title, measured, checked, [to_ascii], sdk_times, to_sdk_raw, [to_floor])


def memory_line(groups: Sequence[Group]) -> Line:
    """Return the line of the peak memory of NDJSON at each count."""
    found = [group.peak_mb("ndjson") for group in groups]
    goals = (at_most(MOST_MB, "MB", *found), at_most(MOST_GROWTH, "times the least", max(found) / min(found)))
    counts = ", ".join(f"{group.served.total:,}" for group in groups)
    return Line(f"memory at {counts}", f"{', '.join(f'{one:.0f}' for one in found)} MB", goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, nargs="+", default=[COUNT], help="rows of the job")
    parser.add_argument("--latency", type=int, nargs="+", default=LATENCIES, help="ms before each page")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--gzip", action="store_true", help="also measure compressed responses")
    parser.add_argument("--http", action="store_true", help="without TLS")
    asked = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    for count in asked.count:
        for group in measure(
            asked.programs, count, asked.latency, asked.runs, tls=not asked.http, compressed=asked.gzip
        ):
            say(report(group))


if __name__ == "__main__":
    main()
