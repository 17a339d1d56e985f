"""A trivial service for a separate process, so that its processor time does not count."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Callable

from benchmarks.processes import CERTIFICATE, KEY

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"


def serve(answer: Callable[[str], bytes], *, tls: bool, headers: bytes = b"") -> None:
    """Answer each GET with the body that `answer` returns for its target, until standard input ends."""

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = answer(head.split(b" ", 2)[1].decode())
                writer.write(HEAD % (headers, len(body)) + body)
                await writer.drain()

    async def run() -> None:
        context = None
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(CERTIFICATE, KEY)
        server = await asyncio.start_server(answer_all, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        sys.stdout.write(f"{'https' if tls else 'http'}://127.0.0.1:{port}/client/v4\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.close()

    asyncio.run(run())
