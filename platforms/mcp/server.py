"""Serve the tools over standard input and output, until the client closes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from core.errors import PackError
from core.version import VERSION
from platforms.mcp.agent_session import AgentSession
from platforms.mcp.calls import Calls
from platforms.mcp.dispatch import changes_something, run_tool, unknown_tool
from platforms.mcp.progress import RisingProgress, Send
from platforms.mcp.results import ToolResult
from platforms.mcp.tools import INSTRUCTIONS, Tool

NAME = "cloudflare-email-security"
TITLE = "Cloudflare Email Security"

# How long the end of the session waits for changes that are under way.
CHANGE_SECONDS = 15.0


def serve(session: AgentSession, tools: Mapping[str, Tool]) -> None:
    """Serve one client until it closes standard input. What does not end in time is left: its run stays resumable."""
    calls = Calls()
    session.start()
    try:
        asyncio.run(_serve(server_of(session, tools, calls)))
    finally:
        calls.close(CHANGE_SECONDS)
        session.close()


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def server_of(session: AgentSession, tools: Mapping[str, Tool], calls: Calls) -> Server[Any]:
    """Return the server of these tools."""
    listed = [listed_tool(tool) for tool in tools.values()]

    async def list_tools(
        context: ServerRequestContext[Any],  # noqa: ARG001 -- the SDK's signature
        params: types.PaginatedRequestParams | None,  # noqa: ARG001
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, unknown_tool(params.name, tools))
        arguments = params.arguments or {}
        async with _sent(context.session.report_progress) as progress:
            try:
                result = await calls.run(
                    lambda: run_tool(session, tool, arguments),
                    progress.offer,
                    changes=changes_something(tool, arguments),
                )
            except PackError as error:
                result = ToolResult.of_error(error)
        return answer(result)

    return Server(
        NAME,
        version=VERSION,
        title=TITLE,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def listed_tool(tool: Tool) -> types.Tool:
    """Return a tool as the protocol lists it."""
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.input_schema),
        output_schema=dict(tool.output_schema),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.read_only,
            destructive_hint=tool.destructive,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.open_world,
        ),
    )


def answer(result: ToolResult) -> types.CallToolResult:
    """Return a result as the protocol has it: the document, the same as text, and the notes."""
    text = json.dumps(result.document)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=each) for each in (text, *result.notes)],
        structured_content=result.document,
        is_error=result.is_error,
    )


@asynccontextmanager
async def _sent(send: Send) -> AsyncIterator[RisingProgress]:
    """Send the progress that is offered in the block."""
    progress = RisingProgress(send)
    sending = asyncio.create_task(progress.run())
    try:
        yield progress
    finally:
        sending.cancel()
        # The client may have gone.
        with suppress(asyncio.CancelledError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await sending
    await progress.send_newest()
