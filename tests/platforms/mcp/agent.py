"""An agent with `cfes mcp` as its server process: the SDK's own client, or messages that a test writes itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

T = TypeVar("T")

CFES = str(Path(sys.executable).with_name("cfes"))
LONGEST_SECONDS = 60


def with_agent(environment: Mapping[str, str], scenario: Callable[[ClientSession], Awaitable[T]], *arguments: str) -> T:
    """Start a server, connect to it, and return what the scenario returns."""

    async def connected() -> T:
        server = StdioServerParameters(command=CFES, args=["mcp", *arguments], env=dict(environment))
        async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as client:
            await client.initialize()
            return await scenario(client)

    return asyncio.run(asyncio.wait_for(connected(), LONGEST_SECONDS))


class RawServer:
    """A server process whose messages a test writes and reads itself."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [CFES, "mcp", *arguments],
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        self.send("initialize", hello, request=0)
        assert self.receive()["id"] == 0
        self.send("notifications/initialized")

    def send(self, method: str, params: Mapping[str, Any] | None = None, *, request: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        self.write(json.dumps(message if request is None else {**message, "id": request}))

    def call(self, request: int, tool: str, **arguments: Any) -> None:
        """Call a tool, with a token for its progress."""
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": request}}
        self.send("tools/call", params, request=request)

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return the next message. Every line of standard output is one."""
        assert self.process.stdout is not None
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert message["jsonrpc"] == "2.0"
        return message

    def answer(self, request: int) -> dict[str, Any]:
        """Return the answer of a request, and skip other messages."""
        while True:
            message = self.receive()
            if message.get("id") == request:
                return message

    def end(self) -> tuple[int, str]:
        """Close standard input. Return the exit code and standard error."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for the end. Return the exit code and standard error."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        for line in self.process.stdout:
            assert json.loads(line)["jsonrpc"] == "2.0"
        log = self.process.stderr.read()
        code = self.process.wait(LONGEST_SECONDS)
        for stream in (self.process.stdout, self.process.stderr, self.process.stdin):
            if stream is not None:
                stream.close()
        return code, log
