"""An agent's session in this process, and the settings of a server process, with a sandbox as the remote API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from platforms.mcp.agent_session import AgentSession
from platforms.mcp.dispatch import run_tool
from platforms.mcp.results import ToolResult
from platforms.mcp.tools import tools_of
from sandbox.server import RunningSandbox
from sandbox.settings import Pace

Call = Callable[..., ToolResult]


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A sandbox whose jobs end within a second: the server has the clock of this machine."""
    return start_sandbox(
        manual_clock=False, pace=Pace(start_delay=0.1, discover_rate=2000, process_rate=1000, retry_delay=0.1)
    )


@pytest.fixture
def settings(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of the server."""
    return {**environment, "CFES_STATE_DIR": str(tmp_path / "state"), "CFES_LISTING_LAG_SECONDS": "0"}


@pytest.fixture
def session(settings: dict[str, str]) -> Iterator[AgentSession]:
    session = AgentSession(settings)
    session.start()
    yield session
    assert session.close()


@pytest.fixture
def call(session: AgentSession) -> Call:
    """Call a tool of the toolset `all`."""
    tools = tools_of("all")

    def called(name: str, /, **arguments: Any) -> ToolResult:
        return run_tool(session, tools[name], arguments)

    return called
