"""A server for one job and its rows: one process, one thread, TLS, with a latency.

`python -m benchmarks.page_server --count N --rows KIND` prints its URL as one line of JSON, and serves until standard
input ends. It uses the certificate of the tests; `--http` serves without TLS. Responses have the shape of the API's.
Each row has its own ID, and row 4,242 has 1 MB. The account ID sets the latency: `bench-50` waits 50 ms before each
page, `bench-0-gzip` compresses.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gzip
import json
import ssl
import sys
from urllib.parse import parse_qsl, urlsplit

from benchmarks.processes import CERTIFICATE, KEY
from benchmarks.tenant_rows import ROW_KINDS, RowKind, longest, templates
from tests.connectors.scripted import JOB_ID

PAGE = 1000
LONGEST_ROW = 4242

ENVELOPE = b'{"success":true,"errors":[],"messages":[],"result":'


def job_document(rows: int) -> bytes:
    return (
        ENVELOPE
        + json.dumps(
            {
                "job_id": JOB_ID,
                "status": "COMPLETED",
                "action_type": "MOVE",
                "action_params": {"type": "MOVE", "destination": "JunkEmail"},
                "search_params": {"sender": "corp.example"},
                "created_at": "2026-11-20T16:02:35Z",
                "started_at": "2026-11-20T16:02:36Z",
                "completed_at": "2026-11-20T16:04:35Z",
                "comment": None,
                "total_messages_discovered": rows,
                "messages_pending": 0,
                "messages_successful": rows,
                "messages_failed": 0,
                "messages_skipped": 0,
                "messages_cancelled": 0,
            }
        ).encode()
        + b"}"
    )


class Pages:
    """The pages of rows. count: the number of rows of the job."""

    def __init__(self, count: int, kind: RowKind) -> None:
        self.count = count
        self._templates = templates(kind, PAGE)
        self._longest = longest(kind)

    def row(self, number: int) -> bytes:
        parts = self._longest if number == LONGEST_ROW else self._templates[number % PAGE]
        return (b"%08x" % number).join(parts)

    def page(self, number: int) -> bytes:
        first = (number - 1) * PAGE
        rows = [self.row(one) for one in range(first, min(first + PAGE, self.count))]
        info = b'],"result_info":{"page":0,"per_page":1000,"count":%d,"total_count":0}}' % len(rows)
        return b"".join((ENVELOPE, b"[", b",".join(rows), info))

    @functools.lru_cache(maxsize=128)  # noqa: B019 -- one object a process
    def zipped(self, number: int) -> bytes:
        return gzip.compress(self.page(number), 6)


async def answer(pages: Pages, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = urlsplit(head.split(b" ", 2)[1].decode())
            query = dict(parse_qsl(target.query))
            account = target.path.partition("/accounts/")[2].partition("/")[0]
            _, latency, *coding = account.split("-")
            extra = b""
            if target.path.endswith("/messages"):
                await asyncio.sleep(float(latency) / 1000)
                number = int(query.get("page", "1"))
                body = pages.zipped(number) if coding else pages.page(number)
                extra = b"content-encoding: gzip\r\n" if coding else b""
            else:
                body = job_document(pages.count)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
                % (extra, len(body))
            )
            writer.write(body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(pages: Pages, *, tls: bool) -> None:
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE, KEY)
    server = await asyncio.start_server(functools.partial(answer, pages), "127.0.0.1", 0, limit=2**16, ssl=context)
    port = server.sockets[0].getsockname()[1]
    base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/client/v4"
    page = pages.page(1)
    ready = {"base_url": base_url, "total": pages.count, "row_bytes": len(page) // min(PAGE, pages.count)}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=100_000, help="rows of the job")
    parser.add_argument("--rows", choices=ROW_KINDS, default="utf8", help="content of the rows")
    parser.add_argument("--http", action="store_true", help="without TLS")
    arguments = parser.parse_args()
    asyncio.run(serve(Pages(arguments.count, arguments.rows), tls=not arguments.http))


if __name__ == "__main__":
    main()
