"""A front with TLS before a server without: `python -m tests.playbooks.temporal.tls_front PORT CERTIFICATE CA`.

A process of its own, which ends with its standard input. It prints its port, and requires a client certificate.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from contextlib import suppress


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(port: str, certificate: str, ca: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", int(port))
        await asyncio.gather(pump(reader, to_server), pump(from_server, writer))

    front = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    print(front.sockets[0].getsockname()[1], flush=True)  # noqa: T201 -- the parent process reads it
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
