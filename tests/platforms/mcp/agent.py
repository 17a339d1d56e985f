"""An agent: the SDK's own client with `cfes mcp` as its server process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

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
