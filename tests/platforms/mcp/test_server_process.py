"""`cfes mcp` as a process, with the SDK's own client."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest
from mcp import ClientSession
from mcp.types import TextContent

from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN
from tests.platforms.mcp.agent import CFES, with_agent


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A sandbox whose jobs take some seconds."""
    return start_sandbox(manual_clock=False, pace=Pace(start_delay=0.1, discover_rate=2000, process_rate=15))


def test_an_agent_moves_a_campaign(settings: dict[str, str]) -> None:
    """It searches, previews, is refused without a plan, creates the job with it, and follows its progress."""
    heard: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async def scenario(client: ClientSession) -> None:
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools][:3] == ["search_messages", "preview_job", "create_job"]
        found = await client.call_tool("search_messages", {"search_params": CAMPAIGN})
        assert not found.is_error
        plan = await client.call_tool(
            "preview_job", {"action": "MOVE", "destination": "JunkEmail", "search_params": CAMPAIGN}
        )
        hash_ = plan.structured_content["plan_hash"]
        refused = await client.call_tool("create_job", {})
        assert refused.is_error
        assert "plan" in refused.structured_content["error"]["message"]
        created = await client.call_tool("create_job", {"plan": hash_, "idempotency_key": "case-42"})
        assert created.structured_content["created"], created
        again = await client.call_tool("create_job", {"plan": hash_, "idempotency_key": "case-42"})
        assert again.structured_content["job_id"] == created.structured_content["job_id"]
        job = {"job_id": created.structured_content["job_id"]}
        waited = await client.call_tool(
            "wait_for_job", {**job, "plan": hash_, "max_interval_seconds": 1}, progress_callback=note
        )
        assert waited.structured_content.get("done"), waited.structured_content
        exported = await client.call_tool("export_job_messages", {**job, "destination": "rows.ndjson"})
        assert exported.structured_content["files"][0]["path"] == "rows.ndjson"
        rows = await client.call_tool("read_file", {"name": "rows.ndjson", "max_bytes": 3000})
        assert json.loads(rows.structured_content["text"].splitlines()[0])
        # The text is the same document.
        assert isinstance(rows.content[0], TextContent)
        assert json.loads(rows.content[0].text) == rows.structured_content

    with_agent(settings, scenario)
    assert heard
    assert [progress for progress, *_ in heard] == sorted({progress for progress, *_ in heard})


def test_a_server_that_cannot_start_says_so_on_standard_error_alone() -> None:
    """Standard output is for the protocol."""
    for arguments, environment, code in [([], {}, 4), (["--toolset", "few"], {"CLOUDFLARE_API_TOKEN": "x"}, 2)]:
        ended = subprocess.run(
            [CFES, "mcp", *arguments], env={"PATH": os.environ["PATH"], **environment}, capture_output=True, check=False
        )
        assert (ended.returncode, ended.stdout) == (code, b"")
        assert b"changed: nothing" in ended.stderr


def test_a_person_on_a_terminal_learns_what_the_command_waits_for(settings: dict[str, str]) -> None:
    keyboard, terminal = os.openpty()
    with subprocess.Popen(
        [CFES, "mcp"], env=settings, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(terminal)
        assert process.stderr is not None
        assert b"Waiting for an MCP client" in process.stderr.readline()
        os.close(keyboard)
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert out == b""
