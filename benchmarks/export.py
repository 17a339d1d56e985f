"""Exports of a job's rows from a server of its own: ours, the official SDK in two ways, and the floor, in turns.

The floor fetches the same bytes with httpx at the same concurrency and writes them untouched. Each program runs as a
process, from start to exit. Processor time (user and system) is compared, since other work on the machine changes it
less than seconds. `python -m benchmarks.export [--count N ...] [--latency MS ...] [--programs NAME ...] [--runs N]`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.page_server import CERTIFICATE, PAGE
from benchmarks.tenant_rows import RowKind
from tests.connectors.scripted import JOB_ID, PSEUDONYM_KEY

ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 3600


class Program(NamedTuple):
    """module: run with the arguments of the other programs. parameters: of ours instead, beside the usual ones."""

    title: str
    module: str = "actions.export_job_messages"
    rows: RowKind = "utf8"
    parameters: dict[str, object] | None = None
    row_format: str = ""


PROGRAMS = {
    "ndjson": Program("NDJSON", parameters={}),
    "quotes": Program("NDJSON, quotes in every row", rows="quotes", parameters={}),
    "ascii": Program("NDJSON, ASCII", rows="ascii", parameters={}),
    "floor": Program("the floor", "benchmarks.export_floor"),
    "sdk-raw": Program("SDK, raw, 8 threads", "benchmarks.sdk_raw_export"),
    "sdk": Program("SDK, NDJSON", "benchmarks.sdk_export", row_format="ndjson"),
    "csv": Program("CSV", parameters={"format": "csv"}),
    "sdk-csv": Program("SDK, CSV", "benchmarks.sdk_export", row_format="csv"),
    "json": Program("JSON", parameters={"format": "json"}),
    "parquet": Program("Parquet", parameters={"format": "parquet"}),
    "pseudonyms": Program("NDJSON, pseudonymised", parameters={"pseudonymize": True}),
}
COMPRESSED = ("ndjson", "floor", "sdk-raw")


class Server(NamedTuple):
    base_url: str
    total: int
    row_bytes: int


class Run(NamedTuple):
    seconds: float
    processor: float
    peak_mb: float


@contextmanager
def serving(count: int, rows: RowKind, *, tls: bool) -> Iterator[Server]:
    more = [] if tls else ["--http"]
    process = subprocess.Popen(  # noqa: S603 -- this repo's own programs
        [sys.executable, "-m", "benchmarks.page_server", "--count", str(count), "--rows", rows, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with process:
        ready = process.stdout.readline() if process.stdout is not None else b""
        yield Server(**json.loads(ready))
        # Leaving closes its standard input, and that ends it.


def server_rate(server: Server, pages: int) -> float:
    """MB a second that the server sends to a client that does nothing with it."""
    parts = urlsplit(server.base_url)
    buffer = bytearray(1 << 20)
    received = 0
    with connected(parts.scheme, (parts.hostname or "", parts.port or 0)) as line:
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


def connected(scheme: str, address: tuple[str, int]) -> socket.socket:
    line = socket.create_connection(address)
    if scheme == "http":
        return line
    return ssl.create_default_context(cafile=CERTIFICATE).wrap_socket(line, server_hostname=address[0])


def run(program: Program, server: Server, account: str, folder: Path) -> Run:
    """One export as a process. Raises: SystemExit where it failed."""
    destination = folder / "rows"
    environment = {
        "PATH": os.environ["PATH"],
        "CLOUDFLARE_API_TOKEN": "none",
        "CLOUDFLARE_ACCOUNT_ID": account,
        "CLOUDFLARE_BASE_URL": server.base_url,
        "CFES_LOG": "off",
        "CFES_PSEUDONYM_KEY": PSEUDONYM_KEY,
        # Read where the address is https.
        "SSL_CERT_FILE": str(CERTIFICATE),
    }
    command = [sys.executable, "-S", "-m", "benchmarks.resource_usage", sys.executable, "-m", program.module]
    given: dict[str, object] = {}
    if program.parameters is None:
        command += [str(destination), str(-(-server.total // PAGE)), JOB_ID, program.row_format]
    else:
        given = {"job_id": JOB_ID, "destination": str(destination), **program.parameters}
    # Calls are counted there: an export that shared them with the one before would have to wait.
    with tempfile.TemporaryDirectory() as state:
        # pyarrow loads pandas where it finds it, 36 MB: the tests have it, the pack does not ask for it.
        (Path(state) / "pandas.py").write_text("raise ImportError\n")
        done = subprocess.run(  # noqa: S603 -- the same
            command,
            input=json.dumps(given).encode(),
            capture_output=True,
            env={**environment, "CFES_STATE_DIR": state, "PYTHONPATH": state},
            cwd=ROOT,
            check=True,
        )
    measured = json.loads(done.stdout)
    if measured.pop("status") != 0:
        raise SystemExit(f"{program.title} failed: {done.stderr.decode()[:2000]}")
    # One call reads a million rows at most: what it leaves for the next is a partial file.
    for path in folder.iterdir():
        path.unlink()
    return Run(**measured)


def table(servers: dict[RowKind, Server], chosen: list[Program], account: str, runs: int) -> None:
    """Print a line for each program. The ratios are medians over neighbouring runs."""
    taken: list[list[Run]] = [[] for _ in chosen]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            for program, found in zip(chosen, taken, strict=True):
                found.append(run(program, servers[program.rows], account, Path(folder)))
    total = servers[chosen[0].rows].total
    for program, found in zip(chosen, taken, strict=True):
        pairs = list(zip(found, taken[0], strict=True))
        above = statistics.median(this.processor - ndjson.processor for this, ndjson in pairs)
        figures = (
            f"{statistics.median(one.seconds for one in found):.2f}",
            f"{statistics.median(one.processor for one in found):.2f}",
            f"{max(one.peak_mb for one in found):.0f}",
            f"{statistics.median(this.processor / ndjson.processor for this, ndjson in pairs):.2f}",
            f"{statistics.median(this.seconds / ndjson.seconds for this, ndjson in pairs):.2f}",
            f"{above / total * 1e6:.1f}",
        )
        say(f"| {total:,} | {account} | {program.title} | {' | '.join(figures)} |")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, nargs="+", default=[100_000], help="rows of the job")
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 50, 200], help="ms before each page")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gzip", action="store_true", help="more lines, with answers that are compressed")
    parser.add_argument("--http", action="store_true", help="without TLS")
    arguments = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    # What the others are compared with comes first.
    names = ["ndjson", *(name for name in arguments.programs if name != "ndjson")]
    chosen = [PROGRAMS[name] for name in names]
    say("| rows | server | program | seconds | processor | peak MB | processor ratio | seconds ratio | us a row more |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for count in arguments.count:
        with ExitStack() as started:
            servers = {
                rows: started.enter_context(serving(count, rows, tls=not arguments.http))
                for rows in {program.rows for program in chosen}
            }
            for latency in arguments.latency:
                table(servers, chosen, f"bench-{latency}", arguments.runs)
            if arguments.gzip:
                compressed = [PROGRAMS[name] for name in names if name in COMPRESSED]
                table(servers, compressed, "bench-0-gzip", arguments.runs)
            rate = server_rate(servers["utf8"], min(100, -(-count // PAGE)))
        say(f"the server sends {rate:,.0f} MB/s; a row has {servers['utf8'].row_bytes} bytes")


if __name__ == "__main__":
    main()
