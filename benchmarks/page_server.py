"""A service that does nothing but hand out a job's pages: one process, one thread, rows of 2.9 KB, a latency.

`python -m benchmarks.page_server --rows N` prints its address as one line of JSON and serves until standard input ends,
with `--tls` over TLS, by a certificate that is known to nobody but the tests.
What it sends has the shape of the API's answers; each row has an ID of its own. The account's ID says how: `bench-50`
waits 50 ms before each page, `bench-0-gzip` compresses.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gzip
import json
import ssl
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from sandbox.server import start
from sandbox.settings import Settings
from tests.connectors.scripted import JOB_ID

PAGE = 1000
ROW_BYTES = 2900

CERTIFICATE = Path(__file__).parent.parent / "tests" / "connectors" / "loopback_tls" / "certificate.pem"
KEY = CERTIFICATE.with_name("key_of_no_use_elsewhere.pem")

ENVELOPE = b'{"success":true,"errors":[],"messages":[],"result":'


def row_body() -> bytes:
    """A row as the sandbox makes them, filled up to 2.9 KB, without its ID."""
    settings = Settings(messages=40, manual_clock=True)
    with start(settings) as sandbox:
        import httpx  # noqa: PLC0415 -- where the service is imported to be measured, this is not

        account = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate"
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        search = {"sender": sandbox.state.tenant.domain, "detections_only": False}
        body = {"action": "MOVE", "destination": "JunkEmail", "search_params": search}
        job = httpx.post(f"{account}/bulk", json=body, headers=headers).json()["result"]
        sandbox.state.advance(3600)
        rows = httpx.get(f"{account}/bulk/{job['job_id']}/messages", headers=headers).json()["result"]
    row = max(rows, key=lambda found: len(json.dumps(found)))
    del row["message_id"]
    text = json.dumps(row, separators=(",", ":"))
    row["message"]["findings"] = [{"detail": "x" * max(0, ROW_BYTES - len(text) - 90)}]
    return json.dumps(row, separators=(",", ":")).encode()


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
    """The answers. rows: how many the job has."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        body = row_body().replace(b'"status":"PENDING"', b'"status":"COMPLETED"')
        self._rest = b'","' + body[2:]
        self.row_bytes = len(self.row(0))

    def row(self, number: int) -> bytes:
        return b'{"message_id":"%08x-a933-4f8b-9c1a-94eb3b35a3c3' % number + self._rest

    def page(self, number: int) -> bytes:
        first = (number - 1) * PAGE
        numbers = range(first, min(first + PAGE, self.rows))
        between = b'%s,{"message_id":"' % self._rest
        ids = [b"%08x-a933-4f8b-9c1a-94eb3b35a3c3" % one for one in numbers]
        whole = b'{"message_id":"' + between.join(ids) + self._rest if ids else b""
        info = b'],"result_info":{"page":0,"per_page":1000,"count":%d,"total_count":0}}' % len(ids)
        return b"".join((ENVELOPE, b"[", whole, info))

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
                body = job_document(pages.rows)
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


async def serve(rows: int, *, tls: bool) -> None:
    pages = Pages(rows)
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE, KEY)
    server = await asyncio.start_server(functools.partial(answer, pages), "127.0.0.1", 0, limit=2**16, ssl=context)
    port = server.sockets[0].getsockname()[1]
    base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/client/v4"
    told = {"base_url": base_url, "rows": rows, "row_bytes": pages.row_bytes}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tls", action="store_true")
    asked = parser.parse_args()
    asyncio.run(serve(asked.rows, tls=asked.tls))


if __name__ == "__main__":
    main()
