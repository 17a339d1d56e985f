"""`cfes mcp`: tools for AI agents, over standard input and output."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn, cast

import typer

from actions.contract.ending import EndedBySignal, interrupted_code
from core.errors import ParameterError
from core.installation import check_extra
from core.json_values import shown
from platforms.cli.commands import options
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen

TOOLSETS = ("default", "all")

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("mcp", cls=options.PlainCommand)
def mcp(
    toolset: Annotated[
        str,
        typer.Option(metavar="default|all", help="The tools to offer: the usual ones, or every action."),
    ] = "default",
    verbose: options.Verbose = False,
) -> None:
    """Serve actions, playbooks and runs as tools of an AI agent (MCP), over standard input and output.

    An MCP client starts this command. Changes need a plan. Changes that can't be undone wait for a person.
    """
    # Standard output is for the protocol alone.
    screen = Screen("table", verbose=verbose)
    with report_errors(screen):
        screen.configure_log()
        if toolset not in TOOLSETS:
            raise ParameterError(
                f"--toolset must be default or all, not {shown(toolset)}", help="Nothing was started. Use one of them."
            )
        check_extra("mcp", "mcp", "", "the MCP server")
        from platforms.mcp.agent_session import AgentSession  # noqa: PLC0415 -- the extra
        from platforms.mcp.server import serve  # noqa: PLC0415 -- the extra
        from platforms.mcp.tools import Toolset, tools_of  # noqa: PLC0415 -- with the server

        session, tools = AgentSession(os.environ), tools_of(cast(Toolset, toolset))
        if sys.stdin.isatty():
            screen.say(
                "Waiting for an MCP client on standard input. Clients start this command themselves. Ctrl-C ends it."
            )
        try:
            serve(session, tools)
        except (KeyboardInterrupt, EndedBySignal) as ended:
            _leave(interrupted_code(ended))
        _leave(0)


def _leave(code: int) -> NoReturn:
    """End the process. A thread that reads standard input, or is in an action of a run, would keep it."""
    sys.stderr.flush()
    os._exit(code)
