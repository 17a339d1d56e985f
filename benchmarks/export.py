"""Exports of a job's rows from a server of its own: ours, the official SDK in two ways, and the floor, in turns.

The floor fetches the same bytes with httpx at the same concurrency and writes them untouched. Whole processes, from
start to exit, with their peak memory. `python -m benchmarks.export [--rows N] [--latency MS ...] [--runs N]`.
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
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.page_server import CERTIFICATE
from tests.connectors.scripted import JOB_ID

ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 3600
PAGE = 1000


class Server(NamedTuple):
    base_url: str
    rows: int
    row_bytes: int


class Run(NamedTuple):
    seconds: float
    peak_mb: float
    written: int


@contextmanager
def serving(rows: int, *, tls: bool) -> Iterator[Server]:
    more = ["--tls"] if tls else []
    process = subprocess.Popen(  # noqa: S603 -- this repo's own programs
        [sys.executable, "-m", "benchmarks.page_server", "--rows", str(rows), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with process:
        told = process.stdout.readline() if process.stdout is not None else b""
        yield Server(**json.loads(told))
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


def run(program: list[str], server: Server, account: str, given: dict[str, object] | None, folder: Path) -> Run:
    """One export as a process. Raises: SystemExit where it failed."""
    environment = {
        "PATH": os.environ["PATH"],
        "CLOUDFLARE_API_TOKEN": "none",
        "CLOUDFLARE_ACCOUNT_ID": account,
        "CLOUDFLARE_BASE_URL": server.base_url,
        "CFES_LOG": "off",
        # Read where the address is https.
        "SSL_CERT_FILE": str(CERTIFICATE),
    }
    with tempfile.TemporaryFile() as parameters, tempfile.TemporaryFile() as output:
        parameters.write(json.dumps(given or {}).encode())
        parameters.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 -- the same
            [sys.executable, *program], stdin=parameters, stdout=output, env=environment, cwd=ROOT
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"{program} failed: {output.read().decode()[:2000]}")
    (written,) = [path.stat().st_size for path in folder.iterdir()]
    for path in folder.iterdir():
        path.unlink()
    return Run(seconds, used.ru_maxrss / 1024, written)


Program = tuple[list[str], dict[str, object] | None]


def programs(row_format: str, server: Server, destination: Path) -> dict[str, Program]:
    """What is run for each row of the table: a Python command line, and what it is given on standard input."""
    arguments = [str(destination), str(-(-server.rows // PAGE)), JOB_ID]
    ours: dict[str, object] = {"job_id": JOB_ID, "format": row_format, "destination": str(destination)}
    found: dict[str, Program] = {f"export-job-messages, {row_format}": (["-m", "actions.export_job_messages"], ours)}
    if row_format == "ndjson":
        found["the floor"] = (["-m", "benchmarks.export_floor", *arguments], None)
        found["SDK, raw, 8 threads"] = (["-m", "benchmarks.sdk_raw_export", *arguments], None)
    found[f"SDK, {row_format}"] = (["-m", "benchmarks.sdk_export", *arguments, row_format], None)
    return found


def table(server: Server, row_format: str, account: str, runs: int, *, sdk: bool) -> None:
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        chosen = programs(row_format, server, folder / "rows")
        if not sdk:
            chosen.pop(f"SDK, {row_format}")
        taken: dict[str, list[Run]] = {name: [] for name in chosen}
        for _ in range(runs):
            for name, (program, given) in chosen.items():
                taken[name].append(run(program, server, account, given, folder))
    ours = next(iter(taken.values()))
    for name, found in taken.items():
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, found, strict=True))
        seconds, peak = statistics.median(r.seconds for r in found), max(r.peak_mb for r in found)
        figures = f"{seconds:.2f} | {server.rows / seconds:,.0f} | {peak:.0f} | {ratio:.2f} | {1 / ratio:.1f}"
        say(f"| {server.rows:,} | {account} | {name} | {figures} |")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 50, 200], help="ms before each page")
    parser.add_argument("--formats", nargs="+", default=["ndjson", "csv"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gzip", action="store_true", help="one more row, with answers that are compressed")
    parser.add_argument("--tls", action="store_true", help="over TLS, as the API speaks it")
    parser.add_argument("--no-sdk", action="store_true", help="without the SDK's own iteration, which takes its time")
    arguments = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    say("| rows | server | program | seconds | rows/s | peak MB | ours / this | this / ours |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for rows in arguments.rows:
        with serving(rows, tls=arguments.tls) as server:
            for latency in arguments.latency:
                for row_format in arguments.formats:
                    table(server, row_format, f"bench-{latency}", arguments.runs, sdk=not arguments.no_sdk)
            if arguments.gzip:
                table(server, "ndjson", "bench-0-gzip", arguments.runs, sdk=False)
            rate = server_rate(server, min(100, -(-rows // PAGE)))
        say(f"the server sends {rate:,.0f} MB/s; a row has {server.row_bytes} bytes")


if __name__ == "__main__":
    main()
